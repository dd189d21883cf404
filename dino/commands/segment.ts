/** `dino segment` */
import type { Command } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { lazyProgress } from "../files/progress.js";
import { openDavis } from "../segmentation/davis.js";
import { usualPropagation } from "../segmentation/propagation.js";
import { type Measures, segment } from "../segmentation/segment.js";
import { loadModel } from "../weights/load-model.js";
import { count, wholeNumber } from "./flags.js";
import { addCheckpointOptions, type CheckpointOptions } from "./model.js";
import { print, printJson } from "./output.js";

interface SegmentOptions extends CheckpointOptions {
  readonly data: string;
  readonly out: string;
  readonly set: string;
  readonly sequences?: readonly string[];
  readonly imageSize: number;
  readonly nLastFrames: number;
  readonly topk: number;
  readonly sizeMaskNeighborhood: number;
  readonly json?: true;
}

export function addSegment(dino: Command): void {
  const { lastFrames, topk, radius } = usualPropagation;
  addCheckpointOptions(dino.command("segment"), "features")
    .description(
      "propagate the masks of a video's first frame through the video, and measure J and F as DAVIS 2017 does",
    )
    .requiredOption("--data <folder>", "dataset folder, with ImageSets, JPEGImages and Annotations")
    .requiredOption("--out <folder>", "folder for the masks, one subfolder per video, and results.json")
    .option("--set <name>", "list of videos: ImageSets/2017/NAME.txt", "val")
    .option("--sequences <names...>", "videos of the list to segment (default: all)")
    .option(
      "--image-size <pixels>",
      "shorter side to resize frames to; larger gives finer masks and takes more time and memory",
      count,
      480,
    )
    .option(
      "--n-last-frames <frames>",
      "preceding frames to propagate from, besides the first; more suits slow videos",
      wholeNumber,
      lastFrames,
    )
    .option("--topk <patches>", "most similar patches whose labels are averaged; the paper takes 5", count, topk)
    .option(
      "--size-mask-neighborhood <patches>",
      "radius of the search for similar patches, 0 for the whole frame; raise for fast motion",
      wholeNumber,
      radius,
    )
    .option("--json", "print the results as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExample:\n" +
        "  dino segment --checkpoint runs/photos/checkpoint.safetensors --data DAVIS --out runs/photos/masks",
    )
    .action(async (options: SegmentOptions) => {
      const { data, out, set, sequences: names } = options;
      const sequences = await openDavis(data, { set, ...(names && { names }) });
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      using progress = lazyProgress("frames");
      const found = await segment({
        model,
        sequences,
        out,
        shortSide: options.imageSize,
        onProgress: progress.report,
        propagation: {
          lastFrames: options.nLastFrames,
          topk: options.topk,
          radius: options.sizeMaskNeighborhood,
        },
      });
      if (options.json) {
        printJson({ checkpoint: options.checkpoint, which: options.which, set, ...found });
        return;
      }
      const width = Math.max(...found.sequences.map(({ sequence }) => sequence.length)) + 3;
      for (const { sequence, frames, objects, measures } of found.sequences) {
        print(describe(sequence, width, measures, `${frames} frames`));
        for (const [o, own] of objects.entries()) print(describe(`  ${o + 1}`, width, own));
      }
      if (found.sequences.length > 1) print(describe("all objects", width, found.measures));
      print(`${out}   masks`, `${found.results}   results`);
    });
}

function describe(title: string, width: number, measures: Measures | undefined, more = ""): string {
  const percent = (value: number): string => (100 * value).toFixed(1).padStart(5);
  const name = title.padEnd(Math.max(width, "all objects".length));
  const tail = more === "" ? "" : `   ${more}`;
  if (measures === undefined) return `${name}   not measured: some frames lack annotations${tail}`;
  const { region, boundary, mean } = measures;
  const three = ({ mean: average, recall, decay }: Measures["region"]): string =>
    `mean ${percent(average)}  recall ${percent(recall)}  decay ${percent(decay)}`;
  return `${name}   J&F ${percent(mean)}   J ${three(region)}   F ${three(boundary)}${tail}`;
}
