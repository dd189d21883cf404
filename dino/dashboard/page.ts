/** The built pages: every file by its address. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** Whether this is a checkout with the sources of the pages, not the published package. */
const isCheckout = import.meta.url.endsWith(".ts");
const built = fileURLToPath(new URL(isCheckout ? "../../dist/web/" : "../../web/", import.meta.url));
const configs = ["vite.config.ts", "vite.copy.config.ts"].map((name) =>
  fileURLToPath(new URL(`../web/${name}`, import.meta.url)),
);

/** Every page. A checkout built by an earlier version may lack some. */
const pages = ["index.html", "viewer.html", "train.html", "explore.html", "copy/map.js"];

/**
 * Returns the files of the pages by address, with "/" for the dashboard; builds them first if a checkout lacks them.
 */
export async function openPage(log: (line: string) => void): Promise<ReadonlyMap<string, string>> {
  const entry = join(built, "index.html");
  if (!pages.every((page) => existsSync(join(built, page)))) {
    if (!isCheckout) throw new Error(`the dashboard: expected its pages in ${built}; install the package again`);
    log("building the dashboard's pages, once");
    await build();
  }
  const found = await readdir(built, { recursive: true, withFileTypes: true });
  const files = found.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name));
  const address = (path: string) => `/${path.slice(built.length).split(sep).join("/")}`;
  return new Map([["/", entry], ...files.map((path) => [address(path), path] as const)]);
}

async function build(): Promise<void> {
  try {
    const vite = await import("vite");
    for (const configFile of configs) await vite.build({ configFile, logLevel: "error" });
  } catch (error) {
    throw new Error(`the dashboard: its page could not be built: ${(error as Error).message}; try npm run build:web`, {
      cause: error,
    });
  }
}
