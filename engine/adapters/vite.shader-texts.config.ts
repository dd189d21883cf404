import { defineConfig } from "vite";

/** Inlines the shaders into the package's `engine/adapters/shader-texts.js`, which then works with any bundler or none. */
export default defineConfig({
  root: `${import.meta.dirname}/../..`,
  logLevel: "warn",
  publicDir: false,
  build: {
    outDir: "dist/engine/adapters",
    emptyOutDir: false,
    minify: false,
    lib: { entry: "engine/adapters/shader-texts.ts", formats: ["es"], fileName: "shader-texts" },
  },
});
