/**
 * Exports the network of a run with `dino export` in every format, computes its tokens of random images, and has Python's
 * libraries do the same (`bench/torch/open_exports.py`). Prints a line of JSON for each library.
 */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { encode } from "../../dino/model/vit.js";
import { readLog } from "../../dino/run/log.js";
import { runFiles } from "../../dino/run/run-folder.js";
import { loadModel } from "../../dino/weights/load-model.js";
import { openDevice } from "../../engine/adapters/node.js";
import { evaluate, input } from "../../engine/index.js";
import { numbers } from "../steps/row.js";
import { runChild } from "./child.js";
import { python, root } from "./facts.js";

/** A line of the output: a library that opened an export, failed to, or is not installed. */
export type OpenedExport = { readonly library: string } & (
  | { readonly version: string; readonly deviation: number }
  | { readonly version: string; readonly error: string }
  | { readonly missing: string }
);

const IMAGES = 2;

/** Writes images, our tokens of them, and what else Python needs to compare. */
async function writeExpected(run: string, folder: string): Promise<void> {
  const { checkpoint, log } = runFiles(run);
  using device = await openDevice();
  using model = await loadModel(device, checkpoint);
  const { vit, params } = model;
  const pixels = numbers([IMAGES, 3, vit.imageRows, vit.imageCols], 1);
  using images = input(device, pixels.shape);
  images.write(pixels.data);
  let shape: readonly number[] = [];
  const { tokens } = await evaluate(device, () => {
    const found = encode(vit, params, images);
    shape = found.shape;
    return { tokens: found };
  });
  await writeFile(join(folder, "images.f32"), pixels.data);
  await writeFile(join(folder, "tokens.f32"), tokens);
  const losses = (await readLog(log)).steps.map(({ step, loss }) => [step, loss]);
  const expected = { vit, images: pixels.shape, tokens: shape, losses, run };
  await writeFile(join(folder, "expected.json"), JSON.stringify(expected));
}

async function main([run, folder]: readonly string[]): Promise<void> {
  await mkdir(folder!, { recursive: true });
  const { checkpoint } = runFiles(run!);
  const outs = { onnx: "model.onnx", safetensors: "model.safetensors", hf: "hf" };
  for (const [format, name] of Object.entries(outs)) {
    const out = ["--format", format, "--out", join(folder!, name), "--overwrite"];
    const words = [join(root, "dino/dino.js"), "export", "--checkpoint", checkpoint, ...out];
    await promisify(execFile)(process.execPath, words);
  }
  await writeExpected(run!, folder!);
  const script = join(root, "bench/torch/open_exports.py");
  const [code] = (await once(spawn(python, [script, folder!], { stdio: "inherit" }), "close")) as [number | null];
  process.exitCode = code ?? 1;
}

await runChild(main);
