/** `dino copies` */
import type { Command } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { takeReports } from "../files/progress.js";
import type { ImageSet } from "../images/image-set.js";
import { type Image, normalize, normalizeTable, resize } from "../images/pixels.js";
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
    .description("measure how well altered copies of images are traced to their originals, as on Copydays")
    .requiredOption("--data <folder>", "holds original, and beside it strong, jpegqual/N or crops/N, as Copydays does")
    .option("--distractors <images>", "other images among which the originals are to be found")
    .option("--whitening <folder>", "still other images, to learn which directions of the features vary by themselves")
    .option("--imsize <pixels>", "side of the square that images are squeezed to", wholeNumber, 320)
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nA copy belongs to the original of the same name, or, as in Copydays, of a number of six digits that begins with the same four.\n" +
        "Images for --whitening should be several times as many as the features have numbers; the paper takes 20,000.\n\nExample:\n" +
        "  dino copies --checkpoint vitb8.safetensors --data copydays --distractors yfcc10k --whitening yfcc20k",
    )
    .action(async (options: CopiesOptions) => {
      const { data, imsize } = options;
      const copydays = await openCopydays(data);
      const distractors = await openOptional(options.distractors);
      const whitening = await openOptional(options.whitening);
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      const { config, vit } = model;
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
          using progress = takeReports(title);
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
          `whitening: ${images} images hardly vary along ${raised} of ${descriptor.dim} directions; take more`,
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
    });
}

async function openOptional(folder: string | undefined): Promise<ImageSet | undefined> {
  return folder === undefined ? undefined : openData(folder);
}

function describe({ results, originals, distractors, whitening }: CopyReport): string[] {
  const among = distractors > 0 ? ` and ${distractors} distractors` : "";
  return [
    `mAP in percent among ${originals} originals${among}, ${whitening ? "whitened" : "not whitened"}`,
    ...results.map(({ kind, copies, meanAveragePrecision }) => {
      const map = (100 * meanAveragePrecision).toFixed(2).padStart(7);
      return `${kind.padEnd(12)}${map}   ${copies} ${copies === 1 ? "copy" : "copies"}`;
    }),
  ];
}
