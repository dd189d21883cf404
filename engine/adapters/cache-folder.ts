import { join } from "node:path";
import { homedir } from "node:os";

/** Where unpacked drivers are kept: `$XDG_CACHE_HOME/dino-webgpu`, by default `~/.cache/dino-webgpu`. */
export function cacheFolder(): string {
  // `||`, since the XDG base directory specification reads an empty variable as one that is not set
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "dino-webgpu");
}
