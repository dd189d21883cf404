import { defineConfig } from "vite";

/** Puts the shaders into the package's `engine/adapters/shader-texts.js`, so that any bundler, or none, can take it from there. */
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
