/** Static export: the pages and their data as files for any web host. */
import { readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeFolder } from "../files/files.js";
import type { Resource, Site } from "./site.js";

export interface StaticOptions {
  readonly folder: string;
  /** The flag that names the folder, for errors. */
  readonly flag: string;
  /** Replaces an earlier export. */
  readonly overwrite: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Written {
  readonly files: number;
  readonly bytes: number;
  /** Addresses that could not be read, such as images that are gone. */
  readonly missing: readonly string[];
}

/** Resources that are read and written at the same time; some are large. */
const AT_ONCE = 4;

/** Folders of an export; a new export removes only these. */
const EXPORTED_FOLDERS = ["api", "assets"] as const;

/** Throws if the folder holds files that may not be replaced. */
export async function expectFreeFolder({ folder, flag, overwrite }: StaticOptions): Promise<void> {
  const entries = await readdir(folder).catch((error: unknown) => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return [];
    throw new Error(`${flag} ${folder}: expected a folder or a new name, but ${message}`, { cause: error });
  });
  if (entries.length > 0 && !overwrite) {
    throw new Error(
      `${flag} ${folder}: already holds files; --overwrite replaces an earlier export, or use another folder`,
    );
  }
}

/** Writes all resources of the site. Throws as `expectFreeFolder` does. */
export async function writeSite(site: Pick<Site, "resources">, options: StaticOptions): Promise<Written> {
  const { folder, onProgress } = options;
  await expectFreeFolder(options);
  for (const name of EXPORTED_FOLDERS) await rm(join(folder, name), { recursive: true, force: true });
  const places = await site.resources();
  const missing: string[] = [];
  let bytes = 0;
  let done = 0;
  const write = async ({ address, read }: Resource): Promise<void> => {
    const content = await read();
    if (content === undefined) missing.push(address);
    else {
      const path = join(folder, ...address.split("/"));
      await makeFolder(dirname(path));
      await writeFile(path, content.bytes);
      bytes += Buffer.byteLength(content.bytes);
    }
    onProgress?.(++done, places.length);
  };
  for (let first = 0; first < places.length; first += AT_ONCE)
    await Promise.all(places.slice(first, first + AT_ONCE).map(write));
  return { files: places.length - missing.length, bytes, missing };
}
