/** Builds the pages into dist/web. */
import { builtinModules } from "node:module";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

const root = import.meta.dirname;

export default defineConfig({
  root,
  base: "./",
  plugins: [refuseNode()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es", plugins: () => [refuseNode()] },
  build: {
    outDir: join(root, "..", "..", "dist", "web"),
    emptyOutDir: true,
    license: { fileName: "licenses.md" }, // licences of bundled packages
    rolldownOptions: {
      input: ["index.html", "viewer.html", "train.html", "explore.html"].map((page) => join(root, page)),
    },
  },
});

/** Packages for Node and browsers; their package.json says which modules of Node browsers do without. */
const forBoth = /node_modules\/geotiff\//;

/** Stops a build that imports Node modules, which would fail only at run time. */
function refuseNode(): Plugin {
  return {
    name: "refuse-node",
    enforce: "pre",
    resolveId(id, importer) {
      if (!id.startsWith("node:") && !builtinModules.includes(id)) return;
      if (forBoth.test(importer ?? "")) return;
      throw new Error(`${importer} imports ${id}, which browsers lack; import modules that do not need Node instead`);
    },
  };
}
