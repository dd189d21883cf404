/** Names of a run's pictures, for Node and browsers. */

/** Kinds of pictures of a step. */
export const pictureKinds = ["attention", "features"] as const;
export type PictureKind = (typeof pictureKinds)[number];

/** Returns the file name of a picture; leading zeros sort names by step. */
export function pictureName(step: number, kind: PictureKind): string {
  return `${String(step).padStart(6, "0")}-${kind}.png`;
}

/** Parses the file name of a picture; undefined for any other file. */
export function pictureOf(name: string): { readonly step: number; readonly kind: PictureKind } | undefined {
  const [, digits = "", ending] = /^(\d{6,15})-([a-z]+)\.png$/.exec(name) ?? [];
  const kind = pictureKinds.find((known) => known === ending);
  return kind && pictureName(Number(digits), kind) === name ? { step: Number(digits), kind } : undefined;
}
