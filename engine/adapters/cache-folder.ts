import { homedir } from "node:os";
import { join } from "node:path";

/** Returns the cache folder: `$XDG_CACHE_HOME/dino-webgpu`, by default `~/.cache/dino-webgpu`. */
export function cacheFolder(): string {
  // `||`: the XDG base directory specification treats an empty variable as unset
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "dino-webgpu");
}
