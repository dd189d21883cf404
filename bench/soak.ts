/** Soak test: memory and step time of a training over hours. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveConfig } from "../dino/config/resolve.js";
import { openSplits } from "../dino/images/sources/open-splits.js";
import { train } from "../dino/training/train.js";
import type { Device } from "../engine/index.js";
import { figure } from "./figures/format.js";
import { quantile } from "./figures/quantile.js";

/** Measurement of one interval. */
export interface Sample {
  readonly minute: number;
  /** Steps completed. */
  readonly step: number;
  /** Resident memory of the process at the end of the interval. */
  readonly residentMiB: number;
  /** CPU time on all cores, including a software driver's; unlike wall-clock time, it does not depend on other load. */
  readonly cpuMsPerStep: number;
  readonly msPerStep: number;
}

/** Change of a value: its medians over the first and the last third of the intervals. */
export interface Drift {
  readonly early: number;
  readonly late: number;
}

export interface Soak {
  readonly minutes: number;
  readonly steps: number;
  readonly residentMiB: Drift;
  readonly cpuMsPerStep: Drift;
  readonly msPerStep: Drift;
  readonly samples: readonly Sample[];
}

/**
 * Trains the demo's network for the given minutes, with checkpoints and k-NN like a long run, and takes 60 samples. The time
 * before the first sample, with compilation and the first epoch, is ignored.
 */
export async function soak(device: Device, minutes: number, onSample: (sample: Sample) => void): Promise<Soak> {
  const out = await mkdtemp(join(tmpdir(), "dino-soak-"));
  const config = resolveConfig({ preset: "shapes", steps: null, epochs: 1_000_000, knnEvery: 5, saveckpFreq: 0, out });
  const splits = await openSplits(config.data, config);
  const stop = new AbortController();
  const began = performance.now();
  const samples: Sample[] = [];
  let [last, next] = [undefined as { ms: number; cpuMs: number; step: number } | undefined, began + minutes * 1000];
  try {
    const { done } = await train({
      device,
      config,
      splits,
      resume: false,
      explicit: new Set(),
      stop: stop.signal,
      onProgress: ({ step }) => {
        const ms = performance.now();
        if (ms < next) return;
        next += minutes * 1000;
        const { user, system } = process.cpuUsage();
        const now = { ms, cpuMs: (user + system) / 1000, step };
        if (last && step > last.step) {
          const steps = step - last.step;
          const sample: Sample = {
            minute: (ms - began) / 60_000,
            step,
            residentMiB: process.memoryUsage().rss / 2 ** 20,
            cpuMsPerStep: (now.cpuMs - last.cpuMs) / steps,
            msPerStep: (ms - last.ms) / steps,
          };
          samples.push(sample);
          onSample(sample);
        }
        last = now;
        if (ms - began >= minutes * 60_000) stop.abort();
      },
    });
    const drift = (valueOf: (sample: Sample) => number): Drift => {
      const third = Math.ceil(samples.length / 3);
      const median = (some: readonly Sample[]) => quantile(some.map(valueOf), 0.5);
      return { early: median(samples.slice(0, third)), late: median(samples.slice(-third)) };
    };
    return {
      minutes,
      steps: done,
      samples,
      residentMiB: drift(({ residentMiB }) => residentMiB),
      cpuMsPerStep: drift(({ cpuMsPerStep }) => cpuMsPerStep),
      msPerStep: drift(({ msPerStep }) => msPerStep),
    };
  } finally {
    await rm(out, { recursive: true, force: true });
  }
}

export function formatSample({ minute, step, residentMiB, cpuMsPerStep, msPerStep }: Sample): string {
  return `  ${minute.toFixed(1)} min, ${step} steps: ${residentMiB.toFixed(0)} MiB, ${figure(msPerStep)} ms a step, ${figure(cpuMsPerStep)} ms of CPU`;
}

/** Formats the first and the last third side by side. */
export function soakTable({ minutes, steps, residentMiB, msPerStep, cpuMsPerStep }: Soak): string {
  const row = (name: string, unit: string, { early, late }: Drift) =>
    `  ${name.padEnd(18)}${figure(early)} -> ${figure(late)} ${unit}, ${((late / early - 1) * 100).toFixed(1)} %`;
  return [
    `${minutes} minutes, ${steps} steps; medians of the first third -> the last`,
    row("resident memory", "MiB", residentMiB),
    row("a step", "ms", msPerStep),
    row("a step, of CPU", "ms", cpuMsPerStep),
  ].join("\n");
}
