/** Labels of images in files, as people and programs keep them. */
import { readFile, stat } from "node:fs/promises";
import { basename } from "node:path";
import { z } from "zod";
import { parseCsv } from "../files/csv.js";
import { joinNames, printable } from "../files/text.js";
import { openImages } from "../images/sources/folder-images.js";
import type { GivenLabels } from "./given-labels.js";

/** Labels with the names of their classes. */
export interface NamedLabels extends GivenLabels {
  /** Sorted names. */
  readonly names: readonly string[];
}

const jsonSchema = z.union([
  z.record(z.string(), z.string().nullable()),
  z.array(z.object({ file: z.string(), label: z.string().nullable() })),
]);

/** First cells of the header of a CSV file. */
const HEADER = /^(file|file_?name|path|image|name)$/i;

/**
 * Reads labels of images: a CSV file of files and labels, with or without a header; a JSON file, {"a.png": "cat"} or
 * [{"file": "a.png", "label": "cat"}]; or a folder with a subfolder per class. Images without a label are left out.
 * `files` has the name of each image; a file of the list may have more or fewer folders, if only one image fits. Throws,
 * naming the file, if it cannot be read, names an unknown image, or gives an image two labels.
 */
export async function readLabels(path: string, files: readonly string[]): Promise<NamedLabels> {
  return namedLabels(path, await readEntries(path), files);
}

/** Assigns labels to images by name, as `readLabels` does; errors begin with `source`. */
export function namedLabels(source: string, entries: readonly Entry[], files: readonly string[]): NamedLabels {
  const rowOf = rowFinder(files);
  const labelOf = new Map<number, string>();
  const unknown: string[] = [];
  for (const [file, label] of entries) {
    if (label === "") continue;
    const row = rowOf(file);
    if (row === undefined) {
      unknown.push(file);
      continue;
    }
    const before = labelOf.get(row) ?? label;
    if (before !== label) {
      throw new Error(
        `${source}: expected one label per image, got ${printable(before)} and ${printable(label)} for ${files[row]!}`,
      );
    }
    labelOf.set(row, label);
  }
  if (unknown.length > 0) {
    throw new Error(
      `${source}: expected labels of the images, which have names like ${files[0] ?? "none"}, got ${joinNames(unknown)}`,
    );
  }
  const names = [...new Set(labelOf.values())].sort();
  const rows = Int32Array.from(labelOf.keys()).sort();
  return { rows, labels: rows.map((row) => names.indexOf(labelOf.get(row)!)), classes: names.length, names };
}

/** An image and its label; an empty label is none. */
type Entry = readonly [file: string, label: string];

async function readEntries(path: string): Promise<readonly Entry[]> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined)
    throw new Error(`${path}: there is no such file; expected labels, a .csv or .json file or a folder`);
  if (found.isDirectory()) return folderEntries(path);
  const text = await readFile(path, "utf8");
  try {
    return path.toLowerCase().endsWith(".json") ? jsonEntries(text) : csvEntries(text);
  } catch (error) {
    const message = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw new Error(`${path}: ${printable(message, 300)}`, { cause: error });
  }
}

function jsonEntries(text: string): readonly Entry[] {
  const parsed = jsonSchema.parse(JSON.parse(text));
  return Array.isArray(parsed)
    ? parsed.map(({ file, label }) => [file, label ?? ""] as const)
    : Object.entries(parsed).map(([file, label]) => [file, label ?? ""] as const);
}

function csvEntries(text: string): readonly Entry[] {
  const rows = parseCsv(text);
  const hasHeader = HEADER.test(rows[0]?.[0]?.trim() ?? "");
  return rows.slice(hasHeader ? 1 : 0).map((row, i) => {
    const [file, label] = row;
    if (file !== undefined && label !== undefined) return [file.trim(), label.trim()] as const;
    throw new Error(
      `expected a file and a label in each row, separated by a comma, got ${row.length} field in row ${i + 1}`,
    );
  });
}

async function folderEntries(folder: string): Promise<readonly Entry[]> {
  const images = await openImages(folder);
  if (images.labels === undefined) {
    throw new Error(`${folder}: expected at least two subfolders with the images of a class each`);
  }
  return Array.from(images.labels, (label, index) => {
    const name = images.name(index);
    return [name.slice(name.indexOf("/") + 1), images.classes[label]!] as const;
  });
}

/** Returns a function that finds the image that a file of a list names; undefined if none or several fit. */
export function rowFinder(files: readonly string[]): (file: string) => number | undefined {
  const rows = new Map(files.map((file, row) => [file, row]));
  const byBase = new Map<string, number[]>();
  for (const [row, file] of files.entries()) {
    const base = basename(file);
    const same = byBase.get(base);
    if (same) same.push(row);
    else byBase.set(base, [row]);
  }
  return (given) => {
    const file = given.replaceAll("\\", "/");
    const exact = rows.get(given) ?? rows.get(file);
    if (exact !== undefined) return exact;
    const fits = (byBase.get(basename(file)) ?? []).filter(
      (row) => `/${file}`.endsWith(`/${files[row]!}`) || `/${files[row]!}`.endsWith(`/${file}`),
    );
    return fits.length === 1 ? fits[0] : undefined;
  };
}
