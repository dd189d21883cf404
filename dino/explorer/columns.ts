/** What is known of images besides their features, for the colours of the map: classes, splits and columns of a CSV file. */
import { readFile } from "node:fs/promises";
import { parseCsv } from "../files/csv.js";
import type { ImageSet } from "../images/image-set.js";
import type { Column } from "./api.js";

/** Number of unknown files that an error names. */
const NAMED = 5;

/** A column of names, of which each row has one or none. */
export function categories(name: string, values: readonly (string | undefined)[]): Column {
  const names = [...new Set(values.filter((value) => value !== undefined))].sort((a, b) =>
    a.localeCompare(b, "en", { numeric: true }),
  );
  const codes = new Map(names.map((value, code) => [value, code]));
  return { kind: "names", name, names, codes: values.map((value) => (value === undefined ? -1 : codes.get(value)!)) };
}

/**
 * Reads the columns of a CSV file with a line of titles and the name of an image in the first column, for the images of
 * `files`. A column of numbers is one; empty values are unknown. Throws, naming the file and the line, for rows of another
 * length, and for names that are not in the set of images.
 */
export async function readColumns(
  path: string,
  { images, files }: { readonly images: ImageSet; readonly files: readonly string[] },
): Promise<readonly Column[]> {
  const [titles, ...lines] = await readRows(path);
  if (titles === undefined || titles.length < 2 || lines.length === 0)
    throw new Error(`${path}: expected a line of titles, then lines with the name of an image and its values`);
  for (const [i, row] of lines.entries()) {
    if (row.length !== titles.length)
      throw new Error(
        `${path}: expected ${titles.length} values in row ${i + 2}, as many as titles, got ${row.length}`,
      );
  }
  const known = new Set(Array.from({ length: images.count }, (_, index) => images.name(index)));
  const unknown = lines.map(([file]) => file!).filter((file) => !known.has(file));
  if (unknown.length > 0) {
    const some = unknown.slice(0, NAMED).join(", ") + (unknown.length > NAMED ? ", ..." : "");
    throw new Error(
      `${path}: ${unknown.length} of ${lines.length} rows name files that are not in ${images.title}: ${some}; ` +
        "expected paths within the folder, as features.txt lists them",
    );
  }
  return titles.slice(1).map((title, i) => {
    const values = new Map(lines.map((row) => [row[0]!, row[i + 1]!.trim()]));
    return columnOf(
      title,
      files.map((file) => values.get(file) || undefined),
    );
  });
}

async function readRows(path: string): Promise<readonly (readonly string[])[]> {
  try {
    return parseCsv(await readFile(path, "utf8"));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Error(`${path}: ${code === "ENOENT" ? "there is no such file" : message}`, { cause: error });
  }
}

function columnOf(name: string, values: readonly (string | undefined)[]): Column {
  const numbers = values.map((value) => (value === undefined ? null : Number(value)));
  const isNumeric =
    numbers.every((value) => value === null || Number.isFinite(value)) && numbers.some((v) => v !== null);
  return isNumeric ? { kind: "numbers", name, numbers } : categories(name, values);
}
