/** The names of the pictures that a run draws on its way, for Node and for browsers. */

/** What the pictures of a step show. */
export const pictureKinds = ["attention", "features"] as const;
export type PictureKind = (typeof pictureKinds)[number];

/** Zeros in front keep names in the order of the steps. */
export function pictureName(step: number, kind: PictureKind): string {
  return `${String(step).padStart(6, "0")}-${kind}.png`;
}

/** Which picture a file is; undefined for any other file. */
export function pictureOf(name: string): { readonly step: number; readonly kind: PictureKind } | undefined {
  const [, digits = "", ending] = /^(\d{6,15})-([a-z]+)\.png$/.exec(name) ?? [];
  const kind = pictureKinds.find((known) => known === ending);
  return kind && pictureName(Number(digits), kind) === name ? { step: Number(digits), kind } : undefined;
}
