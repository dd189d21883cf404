import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { expect } from "chai";
import ts from "typescript";
import { readShader } from "../../engine/adapters/node.js";
import { bundle } from "./chromium.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What a module imports when it runs, types left out: paths of this repository and names of others. */
function importsOf(path: string): readonly string[] {
  const options = { verbatimModuleSyntax: true, module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ESNext };
  const { outputText } = ts.transpileModule(readFileSync(join(root, path), "utf8"), { compilerOptions: options });
  return ts.preProcessFile(outputText).importedFiles.map(({ fileName }) => {
    const isOurs = fileName.startsWith(".");
    return isOurs ? relative(root, join(root, dirname(path), fileName)).replace(/\.js$/, ".ts") : fileName;
  });
}

/** All modules that come with some, and what else they import, each with one that does. */
function reach(...entries: readonly string[]) {
  const modules = new Set(entries);
  const others = new Map<string, string>();
  for (const path of modules) {
    for (const imported of importsOf(path)) {
      if (imported.endsWith(".ts")) modules.add(imported);
      else others.set(imported, path);
    }
  }
  return { modules, others };
}

describe("what a page runs", () => {
  it("takes an engine that imports neither Node nor a package", () => {
    const { modules, others } = reach("engine/index.ts", "engine/adapters/browser.ts");
    expect(Object.fromEntries(others)).to.deep.equal({});
    expect(modules).to.include("engine/ops/attention.ts").and.not.include("engine/adapters/node.ts");
  });

  it("would notice Node", () => {
    expect([...reach("engine/adapters/node.ts").others.keys()]).to.include.members(["node:fs", "webgpu"]);
  });

  it("loads, looks and trains without Node, and with no package but zod", () => {
    const { modules, others } = reach(
      "test/browser/look-and-train.ts",
      "dino/images/builtin.ts",
      "dino/web/train/browser-training.ts",
    );
    expect([...others.keys()]).to.deep.equal(["zod"]);
    for (const name of [
      "model/vit",
      "images/augment",
      "model/extract",
      "model/inspector",
      "training/trainer",
      "training/step",
      "weights/checkpoint-bytes",
      "config/settings",
    ])
      expect(modules).to.include(`dino/${name}.ts`);
    const alone = reach(
      "dino/evaluation/knn.ts",
      "dino/math/schedules.ts",
      "dino/files/npy.ts",
      "dino/images/crop-to-patches.ts",
      "dino/pictures/pictures.ts",
    );
    expect([...alone.others.keys()]).to.deep.equal([]);
  });

  it("comes in a bundle with the shaders of the same files", async () => {
    const files = await bundle("./model-in-page.ts");
    const code = files.get("entry.js") as string;
    for (const file of readdirSync(join(root, "shaders"))) {
      const text = readShader(file.replace(/\.wgsl$/, "")).replaceAll(/[\\`]|\$\{/g, "\\$&"); // as a template has it
      expect(code, file).to.include(text);
    }
    const kB = (bytes: number) => `${Math.round(bytes / 1000)} kB`;
    console.log(`      the page: ${kB(code.length)}, ${kB(gzipSync(code).length)} packed`);
    expect(code, "Node").not.to.match(/["'`]node:/);
  });

  it("cannot be bundled with Node in it", async () => {
    const error = await bundle("./needs-node.ts").then(
      () => undefined,
      (error: unknown) => error as Error,
    );
    expect(error?.message).to.match(/needs-node\.ts imports node:fs, which browsers lack/);
  });
});
