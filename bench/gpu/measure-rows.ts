/**
 * Checks and times the rows whose share of the card's peak matters, one by one: a wrong row does not keep the others from
 * being timed. Prints a line of JSON for each, and the card's bandwidth in copies.
 */
import { openDevice } from "../../engine/adapters/node.js";
import type { Device } from "../../engine/core/device.js";
import { type Effort, measure, type Measured, summarise, repeat } from "../measure.js";
import { formatRow } from "../report.js";
import type { BenchRow, OwningRow } from "../steps/row.js";
import { rows } from "../steps/rows.js";
import { runChild } from "./child.js";

/** What the process prints: a copy, a row, or a row that failed. */
export type RowLine =
  | { readonly kind: "copy"; readonly gbPerS: number; readonly bytes: number }
  | { readonly kind: "row"; readonly row: Measured; readonly half: boolean }
  | { readonly kind: "failure"; readonly name: string; readonly message: string };

const EFFORT = {
  usual: { warmups: 2, minRepeats: 5, maxRepeats: 50, maxMs: 1000 },
  quick: { warmups: 0, minRepeats: 1, maxRepeats: 2, maxMs: 200 },
} as const satisfies Record<string, Effort>;

/** Products, attention, row kernels and the optimizer; the loss takes the reference seconds. */
const CHOSEN = /^(matmul|attention|softmax|gelu|layernorm|add and layernorm|adamw|ema)/;

const say = (line: RowLine) => console.log(JSON.stringify(line));

async function main([form = "usual", batchWord = "1"]: readonly string[]): Promise<void> {
  if (form !== "usual" && form !== "quick") throw new Error(`${form}: expected usual or quick`);
  let device = await openDevice();
  const kind = device.adapterKind === "gpu" ? "gpu" : "software";
  say({ kind: "copy", ...(await copyBandwidth(device, { mebibytes: form === "quick" ? 16 : 1024 })) });
  for (const row of rows(Number(batchWord), kind).filter(({ name }) => CHOSEN.test(name))) {
    if (device.failure()) device = await openDevice(); // lost in the row before
    say(await lineOf(device, row, EFFORT[form]));
  }
}

async function lineOf(device: Device, row: BenchRow | OwningRow, effort: Effort): Promise<RowLine> {
  const half = "half" in row;
  try {
    if (half && !device.features.has("shader-f16")) throw new Error("the adapter has no shader-f16");
    const measured = await measure(device, row, effort);
    console.error(formatRow(measured)); // shown while the stage runs
    return { kind: "row", row: measured, half };
  } catch (error) {
    process.exitCode = 1;
    const { message } = error as Error;
    console.error(message);
    return { kind: "failure", name: row.name, message };
  }
}

const COPIES = 20;

/** Copies one buffer to another; returns the bytes of a copy, and those read and written in a second. */
async function copyBandwidth(
  { gpu, limits }: Device,
  { mebibytes }: { readonly mebibytes: number },
): Promise<{ readonly gbPerS: number; readonly bytes: number }> {
  const size = Math.min(mebibytes * 2 ** 20, limits.maxBufferSize);
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const [from, to] = [gpu.createBuffer({ size, usage }), gpu.createBuffer({ size, usage })];
  const times = await repeat({ warmups: 1, minRepeats: 3, maxRepeats: 3, maxMs: 0 }, async () => {
    const began = performance.now();
    const encoder = gpu.createCommandEncoder();
    for (let i = 0; i < COPIES; i++) encoder.copyBufferToBuffer(from, 0, to, 0, size);
    gpu.queue.submit([encoder.finish()]);
    await gpu.queue.onSubmittedWorkDone();
    return performance.now() - began;
  });
  for (const buffer of [from, to]) buffer.destroy();
  return { gbPerS: (2 * size * COPIES) / summarise(times).minMs / 1e6, bytes: size };
}

await runChild(main);
