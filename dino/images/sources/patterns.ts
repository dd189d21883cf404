/** Patterns of paths as shells and WebDataset have them: braces, and `*` and `?` in the last part. */
import { readdir } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { whyUnopened } from "../../files/files.js";

/** Maximum number of paths that braces may stand for. */
const MOST = 1_000_000;

/**
 * Replaces braces by what they stand for, in order: `{a,b}` is a, b and `{008..010}` is 008, 009, 010. Returns the path
 * itself if it has none. Throws for more than a million paths.
 */
export function expandBraces(path: string): readonly string[] {
  const [whole, head, inside] = /^(.*?)\{([^{}]*(?:,|\.\.)[^{}]*)\}/s.exec(path) ?? [];
  if (whole === undefined) return [path];
  const choices = choicesOf(inside!);
  const tails = expandBraces(path.slice(whole.length));
  if (choices.length * tails.length > MOST)
    throw new Error(`--data ${path}: expected braces for at most ${MOST} files, got ${choices.length * tails.length}`);
  return choices.flatMap((choice) => tails.map((tail) => `${head!}${choice}${tail}`));
}

/** Returns what braces with this text stand for. */
function choicesOf(inside: string): readonly string[] {
  const [, first, last] = /^(\d+)\.\.(\d+)$/.exec(inside) ?? [];
  if (first === undefined || last === undefined) return inside.includes(",") ? inside.split(",") : [`{${inside}}`];
  const [from, to] = [Number(first), Number(last)];
  const count = Math.abs(to - from) + 1;
  if (count > MOST) throw new Error(`--data {${inside}}: expected braces for at most ${MOST} files, got ${count}`);
  const width = first.startsWith("0") || last.startsWith("0") ? Math.max(first.length, last.length) : 0;
  return Array.from({ length: count }, (_, i) => String(from + Math.sign(to - from) * i).padStart(width, "0"));
}

/** Splits a text at commas outside of braces. */
export function splitAtCommas(text: string): readonly string[] {
  return text.split(/,(?![^{}]*\})/);
}

/** Returns the sorted names of files that match a path with `*` or `?` in its last part. Throws for a folder that may not be read. */
export async function matching(path: string): Promise<readonly string[]> {
  const pattern = basename(path);
  if (!/[*?]/.test(pattern)) return [];
  const matcher = new RegExp(
    `^${pattern
      .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
      .replaceAll("*", ".*")
      .replaceAll("?", ".")}$`,
  );
  const names = await readdir(dirname(path)).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") return [];
    throw new Error(`--data ${path}: ${whyUnopened(error)}`, { cause: error });
  });
  return names.filter((name) => matcher.test(name) && !name.startsWith(".")).sort();
}
