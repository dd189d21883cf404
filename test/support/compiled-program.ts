/** The program `dino` as in the published package, compiled from this checkout; it starts faster than the sources. */
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { buildSync, version } from "esbuild";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Inside `node_modules`: the program finds its dependencies from there, and `npm ci` empties the cache. */
const cache = join(root, "node_modules/.cache/dino-webgpu");

/** Files outside `engine`, `dino/*.ts` and `shaders` that the build depends on. */
const settings = ["package.json", "tsconfig.json", "dino/dino.js"];

const DAY_MS = 24 * 60 * 60 * 1000;

let compiled: string | undefined;

/** The program's entry, to be started with `process.execPath`; compiles the program on the first call, see `compile`. */
export function compiledLauncher(): string {
  compiled ??= compile(root, cache);
  return join(compiled, "dino/dino.js");
}

/** The URL of a compiled module, such as `engine/adapters/node.ts`. */
export function compiledModule(source: string): string {
  compiled ??= compile(root, cache);
  return pathToFileURL(join(compiled, "dist", source.replace(/\.ts$/, ".js"))).href;
}

/** The program's entry in the checkout, which compiles the sources on every start. */
export const sourceLauncher = join(root, "dino/dino.js");

/** Compiles the program of a checkout, unless the cache holds a build of the same sources; returns its folder. */
export function compile(checkout: string, parent: string): string {
  const files = sources(checkout);
  const hash = createHash("sha256")
    .update(version)
    .update(readFileSync(fileURLToPath(import.meta.url)));
  for (const file of [...settings, ...files]) hash.update(`\0${file}\0`).update(readFileSync(join(checkout, file)));
  const folder = join(parent, hash.digest("hex").slice(0, 16));
  if (existsSync(folder)) return folder;

  mkdirSync(parent, { recursive: true });
  removeOld(parent);
  const temporary = mkdtempSync(`${folder}.`);
  try {
    write(checkout, temporary, files);
    renameSync(temporary, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error; // otherwise another process was first
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return folder;
}

/** Paths of the program's files inside a checkout. Vite builds the pages in `dino/web`, which are not among them. */
function sources(checkout: string): readonly string[] {
  const inside = (folder: string) =>
    readdirSync(join(checkout, folder), { recursive: true, encoding: "utf8" }).map((name) => join(folder, name));
  const web = join("dino", "web", sep);
  return ["engine", "dino", "shaders"]
    .flatMap(inside)
    .filter((file) => /\.(ts|wgsl)$/.test(file) && !file.startsWith(web))
    .sort();
}

/** Writes the package: `dist` with the compiled modules and the shaders, the launcher, and `package.json`. */
function write(checkout: string, folder: string, files: readonly string[]): void {
  const copy = (file: string, to: string): void => {
    mkdirSync(dirname(join(folder, to)), { recursive: true });
    copyFileSync(join(checkout, file), join(folder, to));
  };
  for (const file of ["package.json", "dino/dino.js"]) copy(file, file);
  for (const file of files.filter((file) => file.endsWith(".wgsl"))) copy(file, join("dist", file));
  buildSync({
    absWorkingDir: checkout,
    entryPoints: files.filter((file) => file.endsWith(".ts")),
    outdir: join(folder, "dist"),
    outbase: checkout,
    bundle: false,
    format: "esm",
    target: "es2023",
    platform: "node",
    tsconfig: join(checkout, "tsconfig.json"),
    logLevel: "silent", // what it throws says it all
  });
}

/** Removes builds older than a day; other test runs may be using newer ones. */
function removeOld(parent: string): void {
  for (const name of readdirSync(parent)) {
    const path = join(parent, name);
    if (Date.now() - statSync(path).mtimeMs > DAY_MS) rmSync(path, { recursive: true, force: true });
  }
}
