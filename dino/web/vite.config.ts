/** The pages for browsers, built into dist/web. */
import { readFile } from "node:fs/promises";
import { builtinModules } from "node:module";
import { basename, join } from "node:path";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";
import { parseDigits } from "../builtin-digits.js";

const root = import.meta.dirname;

export default defineConfig({
  root,
  base: "./",
  plugins: [refuseNode(), packDigits()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es", plugins: () => [refuseNode(), packDigits()] },
  build: {
    outDir: join(root, "..", "..", "dist", "web"),
    emptyOutDir: true,
    license: { fileName: "licenses.md" }, // of what the pages are bundled of
    rolldownOptions: { input: ["index.html", "viewer.html", "train.html"].map((page) => join(root, page)) },
  },
});

/** Stops a build where something in it needs Node, which would fail only once the page runs. */
function refuseNode(): Plugin {
  return {
    name: "refuse-node",
    enforce: "pre",
    resolveId(id, importer) {
      if (!id.startsWith("node:") && !builtinModules.includes(id)) return;
      throw new Error(`${importer} imports ${id}, which no browser has; import what is free of Node instead`);
    },
  };
}

/** The digits of files, packed once for all the threads that fetch them. */
const packed = new Map<string, Promise<Buffer>>();

async function pack(path: string): Promise<Buffer> {
  return gzipSync(parseDigits(basename(path, ".json"), await readFile(path, "utf8")));
}

/** Makes the digits of the package `mnist` files of a twelfth their size: bytes, packed by gzip. */
function packDigits(): Plugin {
  return {
    name: "pack-digits",
    async load(id) {
      const [path, query] = id.split("?");
      if (query !== "packed-digits") return;
      if (!packed.has(path!)) packed.set(path!, pack(path!));
      const [name, source] = [basename(path!, ".json"), await packed.get(path!)!];
      const file = this.emitFile({ type: "asset", name: `digits-${name}.bin`, source });
      return { code: `export default import.meta.ROLLUP_FILE_URL_${file};`, moduleType: "js" };
    },
  };
}
