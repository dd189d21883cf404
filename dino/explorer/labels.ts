/** Labels that the visitor gives to images, on disk at once: a line for each change, the last one of an image counts. */
import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeFileAtomically } from "../files/files.js";

/** Labels of images by their names. */
export interface Labels {
  readonly all: () => ReadonlyMap<string, string>;
  /** Sets labels, null to take one away, and resolves once they are on disk. */
  readonly set: (changes: readonly LabelChange[]) => Promise<void>;
}

export interface LabelChange {
  readonly file: string;
  readonly label: string | null;
}

const lineSchema = z.object({ file: z.string(), label: z.string().nullable() });

/** Opens `labels.jsonl` in a folder. A last line that was cut off is left out; throws for other damage, naming the line. */
export async function openLabels(folder: string): Promise<Labels> {
  const path = join(folder, "labels.jsonl");
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  });
  const labels = new Map<string, string>();
  const apply = ({ file, label }: LabelChange): void => {
    if (label === null) labels.delete(file);
    else labels.set(file, label);
  };
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  for (const [i, line] of whole.split("\n").slice(0, -1).entries()) apply(parseLine(path, i + 1, line));
  if (whole.length < text.length) await writeFileAtomically(path, whole);
  let last: Promise<void> = Promise.resolve();
  return {
    all: () => labels,
    set: (changes) => {
      const lines = changes.map(({ file, label }) => `${JSON.stringify({ file, label })}\n`).join("");
      const written = last.then(() => appendFile(path, lines, { flush: true }));
      last = written.catch(() => undefined);
      return written.then(() => changes.forEach(apply));
    },
  };
}

function parseLine(path: string, number: number, line: string): LabelChange {
  try {
    return lineSchema.parse(JSON.parse(line));
  } catch (error) {
    throw new Error(`${path}: line ${number} is damaged; mend or remove it`, { cause: error });
  }
}
