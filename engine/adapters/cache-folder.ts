import { mkdir, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

/** Returns the cache folder: `$XDG_CACHE_HOME/dino-webgpu`, by default `~/.cache/dino-webgpu`. */
export function cacheFolder(): string {
  // `||`: the XDG base directory specification treats an empty variable as unset
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "dino-webgpu");
}

/** Returns the path of a file about an adapter: `FOLDER/ADAPTER.json` in the cache. */
export function adapterFile(folder: string, adapter: string, cache = cacheFolder()): string {
  const stem = adapter.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  return join(cache, folder, `${stem.replace(/^-|-$/g, "")}.json`);
}

/** Writes a value as JSON, whole or not at all, also if several processes write at once. */
export async function writeCacheFile(path: string, value: unknown): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const written = `${path}.${process.pid}`;
  await writeFile(written, `${JSON.stringify(value, undefined, 2)}\n`, { flush: true });
  await rename(written, path);
}
