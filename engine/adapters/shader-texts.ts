/// <reference types="vite/types/importMeta.d.ts" />

const files = import.meta.glob<string>("../../shaders/*.wgsl", { query: "?raw", import: "default", eager: true });

/** Sources of all `shaders/NAME.wgsl`, by name, inlined by the bundler. */
export const shaderTexts: ReadonlyMap<string, string> = new Map(
  Object.entries(files).map(([path, text]) => [path.slice("../../shaders/".length, -".wgsl".length), text]),
);
