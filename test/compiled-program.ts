/** The program `dino` as the published package has it, compiled from this checkout: it starts faster than the sources do. */
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
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { buildSync } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Inside `node_modules`: the program finds its dependencies from there, and `npm ci` empties the cache. */
const cache = join(root, "node_modules/.cache/dino-webgpu");

/** Files outside `engine`, `dino` and `shaders` on which the compiled program depends. */
const settings = ["package.json", "package-lock.json", "tsconfig.json", "dino/dino.js", "test/compiled-program.ts"];

const DAY_MS = 24 * 60 * 60 * 1000;

let compiled: string | undefined;

/** The program's entry, to be started with `process.execPath`; compiles the program unless the cache holds these very sources. */
export function compiledLauncher(): string {
  return join((compiled ??= compile()), "dino/dino.js");
}

/** The URL of a compiled module, such as `engine/node.ts`. */
export function compiledModule(source: string): string {
  compiled ??= compile();
  return pathToFileURL(join(compiled, "dist", source.replace(/\.ts$/, ".js"))).href;
}

/** The program's entry in the checkout, which compiles the sources on every start. */
export const sourceLauncher = join(root, "dino/dino.js");

/** Paths of the program's files relative to the checkout. Vite builds the pages in `dino/web`, which are not among them. */
function sources(): readonly string[] {
  const inside = (folder: string) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).map((name) => join(folder, name));
  const web = join("dino", "web");
  return ["engine", "dino", "shaders"]
    .flatMap(inside)
    .filter((file) => /\.(ts|wgsl)$/.test(file) && !file.startsWith(web))
    .sort();
}

function compile(): string {
  const files = sources();
  const hash = createHash("sha256");
  for (const file of [...settings, ...files]) hash.update(`${file}\0`).update(readFileSync(join(root, file)));
  const folder = join(cache, hash.digest("hex").slice(0, 16));
  if (existsSync(folder)) return folder;

  mkdirSync(cache, { recursive: true });
  removeOld();
  const temporary = mkdtempSync(`${folder}.`);
  try {
    write(temporary, files);
    renameSync(temporary, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error; // otherwise another process was first
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return folder;
}

/** Writes the package: `dist` with the compiled modules and the shaders, the launcher, and `package.json`. */
function write(folder: string, files: readonly string[]): void {
  const copy = (file: string, to: string): void => {
    mkdirSync(dirname(join(folder, to)), { recursive: true });
    copyFileSync(join(root, file), join(folder, to));
  };
  for (const file of ["package.json", "dino/dino.js"]) copy(file, file);
  for (const file of files.filter((file) => file.endsWith(".wgsl"))) copy(file, join("dist", file));
  buildSync({
    absWorkingDir: root,
    entryPoints: files.filter((file) => file.endsWith(".ts")),
    outdir: join(folder, "dist"),
    outbase: root,
    bundle: false,
    format: "esm",
    target: "es2023",
    platform: "node",
    tsconfig: join(root, "tsconfig.json"),
    logLevel: "error",
  });
}

/** Removes what was compiled more than a day ago; other runs of the tests may be using what is newer. */
function removeOld(): void {
  for (const name of readdirSync(cache)) {
    const path = join(cache, name);
    if (Date.now() - statSync(path).mtimeMs > DAY_MS) rmSync(path, { recursive: true, force: true });
  }
}
