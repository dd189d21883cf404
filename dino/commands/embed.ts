/** `dino embed` */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Command } from "commander";
import { openDevice } from "../../engine/node.js";
import { isBuiltin } from "../builtin.js";
import { writeFileAtomically } from "../checkpoint-file.js";
import { openParts, type Part, type Parts, wholeOf } from "../evaluate.js";
import { loadModel } from "../features.js";
import { openImages } from "../images.js";
import { encodeNpy } from "../npy.js";
import { UsageError } from "./flags.js";
import { addModelOptions, extractor, type ModelOptions } from "./model.js";
import { print, printJson, reportFailures } from "./output.js";

interface EmbedOptions extends ModelOptions {
  readonly data: string;
  readonly out: string;
  readonly json?: true;
}

export function addEmbed(dino: Command): void {
  addModelOptions(dino.command("embed"))
    .description("write the features of images as a NumPy file, with the list of images beside it")
    .requiredOption(
      "--data <folder>",
      "images, or `builtin` or `builtin-wide` for the held-out images of a built-in set",
    )
    .requiredOption("--out <file.npy>", "where the features go; the lists go beside it, as .txt and .json")
    .option("--json", "print the summary as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExample:\n  dino embed --checkpoint runs/photos/checkpoint.safetensors --data photos --out features.npy",
    )
    .action(async (options: EmbedOptions) => {
      if (!options.out.endsWith(".npy"))
        throw new UsageError(`--out: expected a file ending in .npy, got ${options.out}`);
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      const part: Part = isBuiltin(options.data)
        ? ((await openParts(options.data, { heldOut: 0, seed: 0 })) satisfies Parts).test
        : wholeOf(await openImages(options.data));
      const { images } = part;
      const { cls, indices, failures } = await extractor(model, options.batch)(part, "images");

      const stem = options.out.slice(0, -".npy".length);
      const files = Array.from(indices, (index) => images.name(index));
      await mkdir(dirname(options.out), { recursive: true });
      await writeFileAtomically(options.out, encodeNpy({ values: cls.values, shape: [cls.rows, cls.dim] }));
      await writeFile(`${stem}.txt`, files.map((name) => `${name}\n`).join(""));
      const labels = images.labels && Array.from(indices, (index) => images.labels![index]!);
      const { checkpoint, which } = options;
      const list = { data: options.data, checkpoint, which, files, classes: images.classes, labels, failures };
      await writeFile(`${stem}.json`, `${JSON.stringify(list, undefined, 1)}\n`);

      if (options.json) {
        printJson({
          features: options.out,
          files: `${stem}.txt`,
          list: `${stem}.json`,
          rows: cls.rows,
          dim: cls.dim,
          failures,
        });
        return;
      }
      reportFailures(failures);
      print(
        `${options.out}   [${cls.rows}, ${cls.dim}] float32`,
        `${stem}.txt   the file of each row`,
        `${stem}.json   the same, with labels`,
      );
    });
}
