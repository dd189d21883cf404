/** Prints measurements as text. */
import type { KernelTime } from "../engine/index.js";
import { figure, percent } from "./figures/format.js";
import type { Measured } from "./measure.js";
import { describeMemory } from "./steps/memory.js";

/** Formats the time of each kernel of a step, one line each. */
export function kernelTable(times: readonly KernelTime[]): string {
  return times
    .map(({ kernel, calls, ms, share }) =>
      [
        `  ${kernel.padEnd(38)}`,
        `${figure(ms)} ms`.padStart(12),
        percent(share).padStart(7),
        `${calls} calls`.padStart(12),
      ].join(""),
    )
    .join("\n");
}

/** Formats a row as one line. */
export function formatRow({ name, shape, medianMs, minMs, repeats, spread, ...rates }: Measured): string {
  const { gflopPerS, gbPerS, shareOfStep, usPerDispatch, imagesPerS, plannedBytes, leastBytes } = rates;
  const memory = plannedBytes && leastBytes ? `, planned ${describeMemory({ plannedBytes, leastBytes })}` : "";
  return [
    name.padEnd(30),
    `${figure(medianMs)} ms`.padStart(12),
    (gflopPerS === undefined ? "" : `${figure(gflopPerS)} GFLOP/s`).padStart(15),
    (gbPerS === undefined ? "" : `${figure(gbPerS)} GB/s`).padStart(13),
    (shareOfStep === undefined ? "" : `${percent(shareOfStep)} of step`).padStart(13),
    (imagesPerS === undefined ? "" : `${figure(imagesPerS)} images/s`).padStart(imagesPerS ? 20 : 0),
    (usPerDispatch === undefined ? "" : `${figure(usPerDispatch)} us a dispatch`).padStart(usPerDispatch ? 20 : 0),
    `  median of ${repeats}, min ${figure(minMs)}, spread ${percent(spread)}  ${shape}${memory}`,
  ].join("");
}

/** Describes the spread of the repeats. */
export function describeNoise(all: readonly Measured[]): string {
  const sorted = all.toSorted((a, b) => a.spread - b.spread);
  const usual = sorted[Math.floor(sorted.length / 2)]!.spread;
  const worst = sorted.at(-1)!;
  const verdict = usual > 0.1 ? "noisy: measure again on a machine that does nothing else" : "quiet";
  return `quartiles of a row lie ${percent(usual)} apart, ${percent(worst.spread)} in the worst (${worst.name}): ${verdict}`;
}
