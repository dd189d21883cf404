/** `dino copies` */
import type { Command } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { lazyProgress } from "../files/progress.js";
import type { Decoding } from "../images/image-location.js";
import type { ImageSet } from "../images/image-set.js";
import { type Image, normalize, normalizeTable, resize } from "../images/pixels.js";
import { decodingOf } from "../images/reading.js";
import { openData } from "../images/sources/open.js";
import { extractFeatures } from "../model/extract.js";
import { copyDescriptor, type CopyReport, evaluateCopies } from "../retrieval/copies.js";
import { openCopydays } from "../retrieval/copydays.js";
import { imagesAtOnce } from "../retrieval/shaped-features.js";
import { loadModel } from "../weights/load-model.js";
import { wholeNumber } from "./flags.js";
import { addModelOptions, type ModelOptions } from "./model.js";
import { print, printToStderr, printJson, reportFailures } from "./output.js";

interface CopiesOptions extends ModelOptions {
  readonly data: string;
  readonly distractors?: string;
  readonly whitening?: string;
  readonly imsize: number;
  readonly json?: true;
}

export function addCopies(dino: Command): void {
  addModelOptions(dino.command("copies"))
    .description("measure copy detection: how well altered copies are matched to their originals, as on Copydays")
    .requiredOption(
      "--data <folder>",
      "folder with original, and strong, jpegqual/N or crops/N beside it, as in Copydays",
    )
    .option(
      "--distractors <images>",
      "images to add to the originals; the paper adds 10,000, and more make the task harder",
    )
    .option("--whitening <folder>", "images to learn whitening from, different from all others; usually raises mAP")
    .option(
      "--imsize <pixels>",
      "side of the square that images are resized to, ignoring their aspect ratio",
      wholeNumber,
      320,
    )
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nA copy belongs to the original of the same name or, where names are six-digit numbers as in Copydays, with the same first\n" +
        "four digits. Use several times as many images for --whitening as the features have dimensions; the paper uses 20,000.\n\nExample:\n" +
        "  dino copies --checkpoint vitb8.safetensors --data copydays --distractors yfcc10k --whitening yfcc20k",
    )
    .action(measureCopies);
}

/** Runs the command and prints its report. */
async function measureCopies(options: CopiesOptions): Promise<void> {
  const { data, imsize } = options;
  using device = await openDevice();
  using model = await loadModel(device, options.checkpoint, options.which);
  const { config, vit } = model;
  const decoding = decodingOf(config);
  const copydays = await openCopydays(data, decoding);
  const distractors = await openOptional(options.distractors, decoding);
  const whitening = await openOptional(options.whitening, decoding);
  const size = { rows: imsize, cols: imsize };
  const table = normalizeTable(config);
  const descriptor = copyDescriptor(model);
  const batch = imagesAtOnce(options.batch, 1 + Math.floor(imsize / vit.patch) ** 2);
  const report = await evaluateCopies({
    copydays,
    device,
    log: printToStderr,
    ...(distractors && { distractors }),
    ...(whitening && { whitening }),
    extract: async (images, title) => {
      using progress = lazyProgress(title);
      return await extractFeatures(model, images, {
        view: { resize: imsize, crop: size, mean: config.mean, std: config.std },
        preprocess: (image: Image) => normalize(resize(image, size), table),
        descriptor,
        batch,
        onProgress: progress.report,
      });
    },
  });
  if (report.whitening && report.whitening.raised > 0) {
    const { images, raised } = report.whitening;
    printToStderr(
      `whitening: ${images} images hardly vary along ${raised} of ${descriptor.dim} directions; use more images`,
    );
  }
  if (options.json) {
    printJson({
      checkpoint: options.checkpoint,
      which: options.which,
      data,
      imsize,
      originals: report.originals,
      distractors: report.distractors,
      whitening: report.whitening ?? null,
      results: report.results.map(({ kind, copies, meanAveragePrecision }) => ({
        kind,
        copies,
        map: 100 * meanAveragePrecision,
      })),
      failures: report.failures,
      device: device.name,
    });
    return;
  }
  reportFailures(report.failures);
  print(...describe(report));
}

async function openOptional(folder: string | undefined, decoding: Decoding): Promise<ImageSet | undefined> {
  return folder === undefined ? undefined : openData(folder, decoding);
}

function describe({ results, originals, distractors, whitening }: CopyReport): string[] {
  const added = distractors > 0 ? ` and ${distractors} distractors` : "";
  return [
    `mAP in percent among ${originals} originals${added}, ${whitening ? "whitened" : "not whitened"}`,
    ...results.map(({ kind, copies, meanAveragePrecision }) => {
      const map = (100 * meanAveragePrecision).toFixed(2).padStart(7);
      return `${kind.padEnd(12)}${map}   ${copies} ${copies === 1 ? "copy" : "copies"}`;
    }),
  ];
}
