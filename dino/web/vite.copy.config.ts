/** Builds the map into one script with its styles, since browsers load no modules where a page is a file. */
import { join } from "node:path";
import { defineConfig } from "vite";
import pages from "./vite.config.js";

const root = import.meta.dirname;

export default defineConfig({
  ...pages,
  build: {
    outDir: join(root, "..", "..", "dist", "web", "copy"),
    emptyOutDir: true,
    rolldownOptions: {
      input: join(root, "explore", "main.tsx"),
      output: { format: "iife", entryFileNames: "map.js" },
    },
  },
});
