/** The pages and all that they ask for as files, which any web host can serve. */
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Site } from "./site.js";

export interface StaticOptions {
  readonly folder: string;
  /** Replaces what an earlier export left. */
  readonly overwrite: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Written {
  readonly files: number;
  readonly bytes: number;
  /** Addresses of what could not be had, images that are gone for example. */
  readonly missing: readonly string[];
}

/** Folders that an export makes, and no more than these are removed by another one. */
const EXPORTED_FOLDERS = ["api", "assets"] as const;

/** Throws for a folder that holds files, unless they may be replaced. */
export async function expectFreeFolder({ folder, overwrite }: StaticOptions): Promise<void> {
  const held = await readdir(folder).catch((error: unknown) => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return [];
    throw new Error(`--static ${folder}: expected a folder, or none yet, but ${message}`, { cause: error });
  });
  if (held.length > 0 && !overwrite) {
    throw new Error(
      `--static ${folder}: already holds files; --overwrite replaces an earlier export, or name another folder`,
    );
  }
}

/** Writes everything there is now. Throws where expectFreeFolder does. */
export async function writeSite(site: Site, options: StaticOptions): Promise<Written> {
  const { folder, onProgress } = options;
  await expectFreeFolder(options);
  for (const name of EXPORTED_FOLDERS) await rm(join(folder, name), { recursive: true, force: true });
  const places = await site.resources();
  const missing: string[] = [];
  let bytes = 0;
  for (const [done, { address, read }] of places.entries()) {
    const content = await read();
    if (content === undefined) missing.push(address);
    else {
      const path = join(folder, ...address.split("/"));
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, content.bytes);
      bytes += Buffer.byteLength(content.bytes);
    }
    onProgress?.(done + 1, places.length);
  }
  return { files: places.length - missing.length, bytes, missing };
}
