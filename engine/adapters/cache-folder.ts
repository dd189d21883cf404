import { homedir } from "node:os";
import { join } from "node:path";

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
