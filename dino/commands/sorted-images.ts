/** Writes images sorted into named groups: folders of links, lists of paths, tables. */
import { copyFile, readdir, rename, rm, symlink } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import { formatCsv } from "../files/csv.js";
import { makeFolder, writeFileAtomically } from "../files/files.js";

export interface SortedFlags {
  readonly csv?: string;
  readonly out?: string;
  readonly lists?: string;
}

/** Adds the flags of the outputs; `each` names what a folder is made for. */
export function addSortedOptions(command: Command, each: string): Command {
  return command
    .option("--csv <file.csv>", "write a table with a row per image")
    .option("--out <folder>", `write a folder of links per ${each}, or copies where links are impossible`)
    .option("--lists <folder>", `write a list of the image files per ${each}, which --data @LIST takes`);
}

/** Images with their place below a folder, and their path. */
export interface SortedGroup {
  readonly name: string;
  readonly images: readonly { readonly file: string; readonly path: string }[];
}

/** Throws if a folder to be written already holds something; called before long work. */
export async function checkOutputs({ out, lists }: SortedFlags): Promise<void> {
  for (const [flag, folder] of Object.entries({ out, lists })) {
    if (folder === undefined) continue;
    const entries = await readdir(folder).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    });
    if (entries.length > 0) throw new Error(`--${flag} ${folder}: expected a new or empty folder; name another one`);
  }
}

/** Writes a table, and creates its folder if needed. */
export async function writeTable(path: string, rows: Parameters<typeof formatCsv>[0]): Promise<void> {
  await makeFolder(dirname(path));
  await writeFileAtomically(path, formatCsv(rows));
}

/** Writes a folder per group, with links to its images at their place below it; all or nothing. */
export async function writeFolders(folder: string, groups: readonly SortedGroup[]): Promise<void> {
  const names = fileNames(groups);
  await writeFolderAtomically(folder, async (made) => {
    for (const [i, { images }] of groups.entries()) {
      const placeOf = (file: string): string => join(made, names[i]!, join("/", file)); // never above the folder
      for (const inside of new Set(images.map(({ file }) => dirname(placeOf(file))))) await makeFolder(inside);
      for (const { file, path } of images) {
        const place = placeOf(file);
        await symlink(path, place).catch(() => copyFile(path, place)); // Windows needs a right for links
      }
    }
  });
}

/** Writes a list NAME.txt of paths per group; all or nothing. */
export async function writeLists(folder: string, groups: readonly SortedGroup[]): Promise<void> {
  const names = fileNames(groups);
  await writeFolderAtomically(folder, async (made) => {
    for (const [i, { images }] of groups.entries()) {
      await writeFileAtomically(join(made, `${names[i]!}.txt`), images.map(({ path }) => `${path}\n`).join(""));
    }
  });
}

/** Returns names for the files of groups, without characters that a file system refuses. Throws if two are the same. */
function fileNames(groups: readonly SortedGroup[]): readonly string[] {
  const names = groups.map(({ name }) => name.replaceAll(/[/\\:*?"<>|\p{Cc}]/gu, "-").replace(/^\.+/, "-"));
  const twice = names.findIndex((name, i) => names.indexOf(name) < i);
  if (twice < 0) return names;
  const first = groups[names.indexOf(names[twice]!)]!.name;
  throw new Error(`expected names that differ as files, got ${first} and ${groups[twice]!.name}; rename one`);
}

async function writeFolderAtomically(folder: string, write: (made: string) => Promise<void>): Promise<void> {
  const above = dirname(resolve(folder));
  await makeFolder(above);
  const made = join(above, `.${basename(resolve(folder))}-${process.pid}`);
  await makeFolder(made);
  try {
    await write(made);
    await rename(made, folder); // replaces an empty folder
  } catch (error) {
    await rm(made, { recursive: true, force: true });
    throw error;
  }
}
