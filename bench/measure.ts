/** Checks and times the rows of the bench, a training step, its crops and the host. */
import { openDevice } from "../engine/adapters/node.js";
import type { Device } from "../engine/core/device.js";
import { pipelineCount } from "../engine/core/pipeline.js";
import { formatShape } from "../engine/core/tensor.js";
import { byKernel, input, type KernelTime, type Program, record, type Span } from "../engine/index.js";
import { figure } from "./figures/format.js";
import { quantile } from "./figures/quantile.js";
import { recordCrops } from "./steps/crops.js";
import { savingFlags } from "./steps/memory.js";
import { type BenchRow, numbers, type OwningRow } from "./steps/row.js";
import { recordStep, type StepSize } from "./steps/step.js";

/** The result of one row. */
export interface Measured {
  readonly name: string;
  /** Shapes of the inputs, or another description of the size. */
  readonly shape: string;
  readonly medianMs: number;
  readonly minMs: number;
  readonly repeats: number;
  /** Interquartile range over median, a measure of noise. */
  readonly spread: number;
  readonly gflopPerS?: number;
  readonly gbPerS?: number;
  /** Share of the training step that the row's kernels take, in all shapes; present if the step was measured too. */
  readonly shareOfStep?: number;
  /** Host time of one replayed dispatch, in microseconds. */
  readonly usPerDispatch?: number;
  /** Images per second of a training step or of cropping. */
  readonly imagesPerS?: number;
  readonly kernels?: readonly string[];
  /** Bytes of the planned buffers, and the bytes live at the peak, the lower bound of any plan. */
  readonly plannedBytes?: number;
  readonly leastBytes?: number;
  /** Time until the first training step is done, including network and pipeline creation, and the number of pipelines. */
  readonly coldMs?: number;
  readonly pipelines?: number;
}

/** Number of repetitions of a measurement. */
export interface Effort {
  readonly warmups: number;
  readonly minRepeats: number;
  readonly maxRepeats: number;
  /** No repeat starts after this time. */
  readonly maxMs: number;
}

/** Names of the measurements outside the table of rows. */
export const STEP = "training step";
/** Steps with patches of 14, by method. */
export const STEPS_OF_14 = { dino: "step with patches of 14", dinov2: "step of DINOv2 with patches of 14" } as const;
export const HOST = "host";
export const CROPS = "crops of a batch";

/** Checks one row against its reference, then times it. Throws if the result is wrong. */
export async function measure(device: Device, row: BenchRow | OwningRow, effort: Effort): Promise<Measured> {
  if ("make" in row) {
    using made = row.make(device);
    return await measure(device, made, effort);
  }
  const host = row.inputs.map((shape, i) => numbers(shape, i));
  const inputs = host.map(({ shape, data }) => {
    const x = input(device, shape);
    x.write(data);
    return x;
  });
  try {
    let shape: readonly number[] = [];
    using program = await record(device, () => {
      const [result, ...others] = row.build(...inputs);
      shape = result.shape;
      return { result, ...Object.fromEntries(others.entries()) };
    });
    await program.run();
    expectCorrect(row, row.check(host, { shape, data: await program.read("result") }));
    const kernels = new Set<string>();
    const times = await repeat(effort, async () => {
      const counted = (await program.profile()).filter(({ kernel }) => row.kernels?.test(kernel) ?? true);
      if (counted.length === 0) throw new Error(`${row.name}: no kernel is called ${String(row.kernels)}`);
      for (const { kernel } of counted) kernels.add(kernel);
      return counted.reduce((total, { ms }) => total + ms, 0);
    });
    const summary = summarise(times);
    return {
      name: row.name,
      shape: row.shape ?? row.inputs.map(formatShape).join(" "),
      ...summary,
      ...(row.flops === undefined ? {} : { gflopPerS: row.flops / summary.medianMs / 1e6 }),
      ...(row.bytes === undefined ? {} : { gbPerS: row.bytes / summary.medianMs / 1e6 }),
      kernels: [...kernels],
      ...memoryOf(program),
    };
  } finally {
    for (const x of inputs) x[Symbol.dispose]();
  }
}

/** Throws if a result deviates by more than its tolerance. */
export function expectCorrect(
  { name, tolerance = 1e-5 }: Pick<BenchRow, "name" | "tolerance">,
  deviation: number,
): void {
  if (!(deviation <= tolerance)) {
    throw new Error(
      `${name}: wrong result: expected a deviation of at most ${tolerance} from the reference, got ${deviation}`,
    );
  }
}

/** Calls `once`, which returns a time, as often as the effort allows; returns the times after the warm-up. */
export async function repeat(effort: Effort, once: () => Promise<number>): Promise<number[]> {
  for (let i = 0; i < effort.warmups; i++) await once();
  const times: number[] = [];
  const start = performance.now();
  while (times.length < effort.maxRepeats) {
    if (times.length >= effort.minRepeats && performance.now() - start > effort.maxMs) break;
    times.push(await once());
  }
  return times;
}

export function summarise(times: readonly number[]): Pick<Measured, "medianMs" | "minMs" | "repeats" | "spread"> {
  const medianMs = quantile(times, 0.5);
  return {
    medianMs,
    minMs: quantile(times, 0),
    repeats: times.length,
    spread: medianMs > 0 ? (quantile(times, 0.75) - quantile(times, 0.25)) / medianMs : 0,
  };
}

function memoryOf({ bytes, lowerBoundBytes }: Program): Pick<Measured, "plannedBytes" | "leastBytes"> {
  return { plannedBytes: bytes, leastBytes: lowerBoundBytes };
}

/** A measured training step, its dispatches and the time of each kernel. */
export interface MeasuredStep {
  readonly measured: Measured;
  readonly spans: readonly Span[];
  readonly times: readonly KernelTime[];
}

/** Times a whole training step by the host's clock, and its kernels by GPU timestamps. */
export async function measureStep(
  device: Device,
  size: StepSize,
  effort: Effort,
  name: string = STEP,
): Promise<MeasuredStep> {
  const before = pipelineCount(device);
  const start = performance.now();
  using step = await recordStep(device, size);
  expectCorrect({ name, tolerance: 0.1 }, await step.check());
  const coldMs = performance.now() - start;
  const pipelines = pipelineCount(device) - before;
  const summary = summarise(await repeat(effort, () => untilDone(device, step.program)));
  const spans = await step.program.timeline();
  const times = byKernel(spans);
  const cold = `the first after ${figure(coldMs)} ms, ${pipelines} pipelines`;
  const images = [`${size.batch} images`, ...savingFlags(size)].join(" ");
  const shape = `${images}, ${size.precision ?? "f32"}, ${step.program.dispatches} dispatches, ${cold}`;
  const planned = { ...memoryOf(step.program), coldMs, pipelines };
  const kernels = times.map(({ kernel }) => kernel);
  const imagesPerS = (1000 * size.batch) / summary.medianMs;
  return { measured: { name, shape, ...summary, imagesPerS, kernels, ...planned }, spans, times };
}

/** Times augmentation alone: from decoded pixels to ten normalised crops of each image. */
export async function measureCrops(device: Device, batch: number, effort: Effort): Promise<Measured> {
  using crops = await recordCrops(device, batch);
  const summary = summarise(await repeat(effort, () => untilDone(device, crops)));
  const shape = `${batch} pictures of 500 x 375, 2 crops of 224 and 8 of 96 each`;
  return { name: CROPS, shape, ...summary, imagesPerS: (1000 * batch) / summary.medianMs };
}

/** Times the host's part of a step: a replay on the null adapter, which computes nothing. */
export async function measureHost(effort: Effort): Promise<Measured> {
  using nullDevice = await openDevice({ prefer: "null" });
  using step = await recordStep(nullDevice, {
    batch: 1,
    globalSize: 32,
    localSize: 16,
    dim: 64,
    prototypes: 256,
  });
  const { program } = step;
  const summary = summarise(await repeat(effort, () => untilDone(nullDevice, program)));
  const shape = `${program.dispatches} dispatches`;
  return { name: HOST, shape, ...summary, usPerDispatch: (1000 * summary.medianMs) / program.dispatches };
}

/** Runs a program and returns the milliseconds until the device is done. */
export async function untilDone(device: Device, program: Pick<Program, "run">): Promise<number> {
  const start = performance.now();
  await program.run();
  await device.gpu.queue.onSubmittedWorkDone();
  return performance.now() - start;
}

/** Adds the share of the step that the kernels of a row take. */
export function withShare(measured: Measured, step: readonly KernelTime[]): Measured {
  const own = step.filter(({ kernel }) => measured.kernels?.includes(kernel));
  return own.length === 0 ? measured : { ...measured, shareOfStep: own.reduce((sum, { share }) => sum + share, 0) };
}
