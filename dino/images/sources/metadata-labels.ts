/** Labels of a folder of images in a table, as Hugging Face's ImageFolder has them: metadata.csv or metadata.jsonl. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseCsv } from "../../files/csv.js";
import { joinNames, printable } from "../../files/text.js";
import type { ListReports } from "./folder-list.js";
import { classList, className, LABEL_NAMES, type Labels, withLabels } from "./labels.js";
import { nameAt, type PackedNames } from "./names.js";

/** A table: its columns, and the value of a column in each row. */
interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly Readonly<Record<string, unknown>>[];
}

const parsers = { "metadata.csv": tableOfCsv, "metadata.jsonl": tableOfLines } as const;

/** The column of paths within the folder. */
const FILE = "file_name";

/**
 * Reads the classes of images from the metadata file of their folder, if it has one: from the column `label` or another name of
 * labels, or the only column whose values repeat. A file that gives none is no error, but the reason why images have no classes.
 * Reports rows that name no image.
 */
export async function metadataLabels(
  folder: string,
  names: PackedNames,
  onLeftOut: ListReports["onLeftOut"],
): Promise<Labels> {
  for (const [file, parse] of Object.entries(parsers)) {
    const text = await readFile(join(folder, file), "utf8").catch(() => undefined);
    if (text === undefined) continue;
    try {
      return labelsIn(parse(text), names, file, (count) =>
        onLeftOut?.(folder, [{ kind: `rows of ${file} that name no image`, count }]),
      );
    } catch (error) {
      return { whyUnlabelled: `${join(folder, file)}: ${printable((error as Error).message)}` };
    }
  }
  return {};
}

function labelsIn(table: Table, names: PackedNames, file: string, onUnknown: (rows: number) => void): Labels {
  const column = labelColumn(table);
  const classes = classList();
  const numbers = new Map<string, number>();
  for (const row of table.rows) {
    const image = row[FILE];
    if (typeof image !== "string") throw new Error(`expected a name in ${FILE}, got ${JSON.stringify(image)}`);
    const label = className(row[column]);
    const number = label === undefined || label === "" ? -1 : classes.numberOf(label);
    const name = image.replace(/^(\.\/)+/, "");
    if ((numbers.get(name) ?? number) !== number) throw new Error(`${name} has two labels in the column ${column}`);
    numbers.set(name, number);
  }
  const known = new Set<string>();
  const labels = Int32Array.from({ length: names.ends.length }, (_, index) => {
    const name = nameAt(names, index);
    const own = numbers.has(name) ? name : name.replace(/#[^/]*$/, ""); // pages and tiles have the label of their file
    known.add(own);
    return numbers.get(own) ?? -1;
  });
  const unknown = [...numbers.keys()].filter((name) => !known.has(name));
  if (unknown.length === numbers.size) throw new Error(`expected names of images, got ${joinNames(unknown)}`);
  if (unknown.length > 0) onUnknown(unknown.length);
  return withLabels(classes.names(), labels, `which ${file} has in its column ${column}`);
}

/** Returns the column of labels. Throws if there is none, or no column of names. */
function labelColumn({ columns, rows }: Table): string {
  if (!columns.includes(FILE)) throw new Error(`expected a column ${FILE}, got ${joinNames(columns)}`);
  const named = LABEL_NAMES.find((name) => columns.includes(name));
  if (named !== undefined) return named;
  const repeating = columns.filter((column) => {
    const values = new Set(rows.map((row) => className(row[column])));
    return column !== FILE && !values.has(undefined) && values.size > 1 && 2 * values.size <= rows.length;
  });
  const [only] = repeating;
  if (only !== undefined && repeating.length === 1) return only;
  throw new Error(`expected a column ${LABEL_NAMES[0]!}, or one other column of few values, got ${joinNames(columns)}`);
}

function tableOfCsv(text: string): Table {
  const [columns = [], ...rows] = parseCsv(text);
  const odd = rows.findIndex(({ length }) => length !== columns.length);
  if (odd >= 0)
    throw new Error(
      `CSV: expected ${columns.length} fields in row ${odd + 2}, as in the first, got ${rows[odd]!.length}`,
    );
  return { columns, rows: rows.map((row) => Object.fromEntries(columns.map((column, i) => [column, row[i]]))) };
}

function tableOfLines(text: string): Table {
  const rows = text.split("\n").flatMap((line, i): Table["rows"] => {
    if (line.trim() === "") return [];
    const row = parseLine(line);
    if (row === undefined) throw new Error(`JSON Lines: expected an object in line ${i + 1}`);
    return [row];
  });
  return { columns: [...new Set(rows.flatMap((row) => Object.keys(row)))], rows };
}

function parseLine(line: string): Readonly<Record<string, unknown>> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? (value as Readonly<Record<string, unknown>>) : undefined;
}
