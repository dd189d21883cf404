/** The pages for browsers, built into dist/web. */
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
