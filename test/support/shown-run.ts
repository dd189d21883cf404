/** A finished run with everything that the pages show: log lines, pictures, a checkpoint and an index of its images. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readingOf } from "../../dino/config/derive.js";
import { formatConfig } from "../../dino/config/resolve.js";
import type { PartialConfig } from "../../dino/config/settings.js";
import { runIndexPath, featureList, writeFeatures } from "../../dino/evaluation/feature-files.js";
import { decodingOf } from "../../dino/images/reading.js";
import { openImages } from "../../dino/images/sources/folder-images.js";
import { viewOf } from "../../dino/model/backbone.js";
import { extractFeatures } from "../../dino/model/extract.js";
import { encodePng } from "../../dino/pictures/png.js";
import type { LogLine, StepLine } from "../../dino/run/log.js";
import { pictureName } from "../../dino/run/picture-names.js";
import { runFiles } from "../../dino/run/run-folder.js";
import { loadModel } from "../../dino/weights/load-model.js";
import { drawFolder, writeTinyCheckpoint } from "./command-line.js";
import { testDevice } from "./device.js";

/** Returns a log line with default values, except for `changes`. */
export function lineOf(step: number, changes: Partial<StepLine> = {}): StepLine {
  return {
    step,
    epoch: 0,
    loss: 3,
    teacherEntropy: 1,
    klDivergence: 2,
    meanTargetEntropy: 3,
    studentSpread: 0.5,
    teacherSpread: 0.5,
    gradientNorm: 1,
    lr: 0.1,
    weightDecay: 0,
    momentum: 0.9,
    teacherTemperature: 0.04,
    imagesPerSecond: 100,
    dataWaitMs: 1,
    batchesReady: 1,
    ...changes,
  };
}

export const textOf = (lines: readonly LogLine[]): string => lines.map((line) => `${JSON.stringify(line)}\n`).join("");

/** Writes the run into a folder, with a network of `tinySettings` unless others are given, and six images beside it. */
export async function writeShownRun(out: string, settings: PartialConfig = {}): Promise<void> {
  const { config: configFile, log, profile, checkpoint, pictures } = runFiles(out);
  await mkdir(pictures, { recursive: true });
  const data = `${out}-photos`;
  await drawFolder(data, 3);
  const config = await writeTinyCheckpoint(checkpoint, { data, steps: 20, out, ...settings });
  await writeFile(configFile, formatConfig(config));
  const epoch = { type: "epoch", step: 20, epoch: 0, loss: 2.9, lr: 0.1, weightDecay: 0 } as const;
  await writeFile(log, textOf([lineOf(10), lineOf(20, { loss: 2.8 }), epoch]));
  const kernels = [{ kernel: "matmul", calls: 3, ms: 2, share: 1 }];
  await writeFile(profile, JSON.stringify({ step: 10, device: "a GPU", kernels }));
  for (const kind of ["attention", "features"] as const) {
    const grey = { width: 60, height: 30, rgb: new Uint8Array(60 * 30 * 3).fill(99) };
    for (const step of [0, 20]) await writeFile(join(pictures, pictureName(step, kind)), encodePng(grey));
  }
  await writeIndex(runIndexPath(out), { data, checkpoint });
}

/** Writes the features of the images of a folder, as dino embed does. */
export async function writeIndex(
  path: string,
  { data, checkpoint }: { readonly data: string; readonly checkpoint: string },
): Promise<void> {
  using model = await loadModel(await testDevice(), checkpoint);
  const images = await openImages(data, decodingOf(readingOf(model.config)));
  const extracted = await extractFeatures(model, images, { view: viewOf(model.config) });
  await writeFeatures(path, featureList(images, extracted, { data, checkpoint, which: "teacher" }));
}
