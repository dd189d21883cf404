/** Measurements for training on many ranks, and the predictions for many GPUs that follow. */
import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { chartSvg, svgToPng } from "../../dino/pictures/charts.js";
import { openDevice } from "../../engine/adapters/node.js";
import { figure } from "../figures/format.js";
import { type ConstantName, type Constants, mergeConstants } from "./constants.js";
import {
  measureTransfers,
  measureSums,
  predict,
  type Predicted,
  RANK_EFFORT,
  type RankSums,
  sharedMemory,
  type TransferTimes,
} from "./measure.js";
import {
  constantsTable,
  deviation,
  efficiencyChart,
  leastImagesTable,
  measuredTable,
  predictedTable,
  scalingTable,
  sensitivityTable,
  valuesOf,
  sendingTable,
} from "./report.js";

/** Measurements, and the constants derived from them. */
export interface RankResult {
  readonly cores: number;
  readonly crossing: { readonly readBack: TransferTimes; readonly upload: TransferTimes };
  /** Sums over two and four ranks; empty without mpirun. */
  readonly sums: readonly RankSums[];
  readonly predicted: readonly Predicted[];
  readonly constants: Constants;
}

const NO_MPIRUN =
  "sums over ranks are not measured, since there is no mpirun here (or MPIRUN names none): install openmpi-bin, or mpich";

/** Measures, and combines the constants. */
export async function measureRanks(
  given: ReadonlyMap<ConstantName, number>,
  { quick }: { readonly quick: boolean },
): Promise<RankResult & { readonly device: string }> {
  using device = await openDevice();
  const effort = quick ? RANK_EFFORT.quick : RANK_EFFORT.usual;
  const crossing = await measureTransfers(device, effort);
  const sums: RankSums[] = [];
  for (const ranks of [2, 4]) {
    const found = await measureSums(ranks, effort);
    if (found) sums.push(found);
  }
  const shared = sums[0] && sharedMemory(sums[0]);
  const byMpi = (value: number) => ({ value, source: `measured here, ${sums[0]!.library}` });
  const { readBack, upload } = crossing;
  const constants = mergeConstants(
    {
      crossingUs: { value: 500 * (readBack.latencyMs + upload.latencyMs), source: `measured here, ${device.name}` },
      ...(shared && {
        callUs: byMpi(1e6 * shared.callS),
        sharedUs: byMpi(1e6 * shared.link.latencyS),
        sharedGB: byMpi(1e-9 / shared.link.sPerByte),
        sharedAddGB: byMpi(1e-9 / shared.link.addSPerByte),
      }),
    },
    given,
  );
  const predicted = shared ? sums.flatMap((found) => predict(found, shared)) : [];
  return { device: device.name, cores: availableParallelism(), crossing, sums, predicted, constants };
}

/** Formats all tables with headings. */
export function rankReport(
  { crossing, sums, predicted, constants, cores }: RankResult,
  networks?: readonly number[],
): string {
  const values = valuesOf(constants);
  const ways = (["readBack", "upload"] as const).flatMap((way) =>
    crossing[way].sizes.map((timed) => ({ name: way === "readBack" ? "read-back" : "upload", ...timed })),
  );
  const calls = sums.map(({ ranks, library, call }) => ({
    name: `call, ${ranks} ranks, ${library}`,
    bytes: 0,
    ...call,
  }));
  const speed = ({ latencyMs, msPerByte }: TransferTimes) =>
    `${figure(1000 * latencyMs)} us, ${figure(1e-6 / msPerByte)} GB/s`;
  const off = (ranks: number) => {
    const { usual, worst } = deviation(predicted.filter((row) => row.ranks === ranks));
    return `${ranks} ranks: ${usual.toFixed(2)} times, ${worst.toFixed(2)} at worst`;
  };
  return [
    `## Constants\n\n${constantsTable(constants)}`,
    `## Read-back, upload and calls here\n\n${measuredTable([...ways, ...calls])}`,
    `Fitted: read-back ${speed(crossing.readBack)}; upload ${speed(crossing.upload)}.`,
    ...(predicted.length === 0
      ? [NO_MPIRUN]
      : [
          `## Sums here, on ${cores} cores, and what the model says\n\n${predictedTable(predicted)}`,
          `The model is off by a factor of, on average, ${sums.map(({ ranks }) => off(ranks)).join("; ")}.`,
        ]),
    `## Step, efficiency, share of waiting\n\n${scalingTable(values, networks)}`,
    `## What pieces and f16 buy\n\n${sendingTable(values)}`,
    `## Fewest images a GPU with which it works as long as it waits\n\n${leastImagesTable(values)}`,
    `## A step on 64 GPUs if one thing were twice as fast\n\n${sensitivityTable(values)}`,
  ].join("\n\n");
}

/** Draws efficiency by number of GPUs as a PNG file. */
export async function drawEfficiency(constants: Constants, path: string): Promise<void> {
  await writeFile(path, svgToPng(await chartSvg(efficiencyChart(valuesOf(constants)))));
}
