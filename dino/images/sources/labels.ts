/** Labels of images in files that hold many. */
import type { SetContents } from "../image-set.js";

/** Classes and labels of a set, or why it has none. */
export type Labels = Pick<SetContents, "classes" | "labels" | "whyUnlabelled">;

/** Names of columns, and of fields in JSON, that hold the class of an image. */
export const LABEL_NAMES: readonly string[] = ["label", "labels", "cls", "class", "fine_label"];

/** Classes of images while they are read, numbered in the order in which they are found. */
export interface ClassList {
  /** Returns the number of a class. */
  numberOf(name: string): number;
  readonly names: () => readonly string[];
}

export function classList(): ClassList {
  const numbers = new Map<string, number>();
  return {
    numberOf: (name) => {
      const known = numbers.get(name);
      if (known !== undefined) return known;
      numbers.set(name, numbers.size);
      return numbers.size - 1;
    },
    names: () => [...numbers.keys()],
  };
}

/**
 * Returns the name of the class that a value stands for; undefined for values that stand for none: null, NaN, negative
 * numbers, which Hugging Face stores for missing labels, and lists. `names` are those of numbered classes.
 */
export function className(value: unknown, names: readonly string[] = []): string | undefined {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("utf8");
  if (typeof value === "string" || typeof value === "boolean") return `${value}`;
  return typeof value === "number" && value >= 0 ? (names[value] ?? `${value}`) : undefined;
}

/**
 * Sorts classes and labels. If an image has no label, marked by a negative number, returns neither, but how many lack
 * one and where labels are looked for.
 */
export function withLabels(classes: readonly string[], labels: Int32Array, where: string): Labels {
  const missing = labels.reduce((sum, label) => sum + (label < 0 ? 1 : 0), 0);
  if (missing === 0 && classes.length > 0) return sortClasses(classes, labels);
  return { whyUnlabelled: `${missing} of ${labels.length} images have no class, ${where}` };
}

/** Sorts classes by name, independent of system and locale, and remaps the labels. */
export function sortClasses(
  names: readonly string[],
  labels: Int32Array,
): { readonly classes: readonly string[]; readonly labels: Int32Array } {
  const classes = [...names].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const places = new Map(classes.map((name, place) => [name, place]));
  const placeOf = names.map((name) => places.get(name)!);
  return { classes, labels: labels.map((label) => placeOf[label]!) };
}
