/** The pages for browsers, built into dist/web. */
import { join } from "node:path";
import { defineConfig } from "vite";

const root = import.meta.dirname;

export default defineConfig({
  root,
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: join(root, "..", "..", "dist", "web"),
    emptyOutDir: true,
    rolldownOptions: { input: [join(root, "dashboard.html")] },
  },
});
