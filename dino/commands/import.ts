/** `dino import` */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { type Command, Option } from "commander";
import { sizeOf } from "../../engine/index.js";
import { vitConfig } from "../config/derive.js";
import { formatSize, parseSetting } from "../config/flags.js";
import { takeReports } from "../files/progress.js";
import { joinNames } from "../files/text.js";
import type { Which } from "../model/backbone.js";
import { writeModel } from "../weights/checkpoint.js";
import { type Imported, importNetwork } from "../weights/import.js";
import { isOfHead } from "../weights/match-tensors.js";
import { asUsage, UsageError, wholeNumber } from "./flags.js";
import { isSameFile, print, printJson } from "./output.js";

interface ImportFlags {
  readonly out: string;
  readonly which?: Which;
  readonly heads?: number;
  readonly imageSize?: ReturnType<typeof parseSetting<"imageSize">>;
  readonly allowPartial?: true;
  readonly seed: number;
  readonly json?: true;
}

export function addImport(dino: Command): void {
  dino
    .command("import")
    .description(
      "make a model of weights from elsewhere, for every command that takes --checkpoint and for train --init",
    )
    .argument(
      "<file>",
      "of PyTorch (.pth, .pt, .bin) or safetensors: official DINO, timm or Hugging Face names of a ViT",
    )
    .requiredOption("--out <file.safetensors>", "where the model goes")
    .addOption(
      new Option("--which <network>", "of a full checkpoint; the teacher if left out").choices(["teacher", "student"]),
    )
    .option(
      "--heads <number>",
      "attention heads, where a head has not the 64 features of the official models",
      (word) => asUsage(() => parseSetting("heads", [word])),
    )
    .option("--image-size <pixels>", "that positions are made for, as ROWSxCOLS where it is no square", (word) =>
      asUsage(() => parseSetting("imageSize", [word])),
    )
    .option(
      "--allow-partial",
      "take what fits: other tensors are left out, missing and misshapen parameters of the backbone begin as in a fresh " +
        "network, a head that is not whole is left out; at least half of the numbers have to be in the file",
    )
    .option("--seed <number>", "of parameters that begin fresh", wholeNumber, 0)
    .option("--json", "print what was found as JSON and nothing else")
    .addHelpText(
      "after",
      "\nNothing in a file is ever run: of what PyTorch pickles, only tensors and plain values are read.\n\nExamples:\n" +
        "  dino import dino_deitsmall16_pretrain.pth --out vit-s16.safetensors\n" +
        "  dino import dino_deitsmall16_pretrain_full_checkpoint.pth --which student --out student.safetensors\n" +
        "  dino knn --checkpoint vit-s16.safetensors --data photos",
    )
    .action(async (file: string, { out, json, ...options }: ImportFlags) => {
      if (await isSameFile(file, out)) throw new UsageError(`--out ${out} is the file to import; give another name`);
      using reading = takeReports("tensors");
      const imported = await importNetwork(file, { ...options, onProgress: reading.report });
      const { heads } = vitConfig(imported.config);
      if (options.heads !== undefined && options.heads !== heads)
        throw new Error(`${file} says that it has ${heads} attention heads, --heads is ${options.heads}; leave it out`);
      await mkdir(dirname(out), { recursive: true });
      await writeModel(out, imported);
      if (json) printJson({ file, model: out, ...summary(imported) });
      else
        print(
          ...describe(imported),
          `model         ${out}`,
          `next          npx dino knn --checkpoint ${out} --data FOLDER`,
        );
    });
}

function summary({ format, naming, which, config, tensors, ignored, fresh }: Imported) {
  const { imageRows, imageCols, patch, dim, depth, heads, mlpRatio } = vitConfig(config);
  const hasHead = [...tensors.keys()].some(isOfHead);
  return {
    format,
    naming,
    which: which ?? null,
    backbone: { imageRows, imageCols, patch, dim, depth, heads, mlpRatio },
    head: hasHead ? { prototypes: config.outDim, hidden: config.hiddenDim, bottleneck: config.bottleneckDim } : null,
    parameters: [...tensors.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    tensors: tensors.size,
    ignored,
    fresh,
  };
}

function describe(imported: Imported): string[] {
  const { format, naming, which, backbone, head, parameters, tensors } = summary(imported);
  const { ignored, fresh, config } = imported;
  return [
    `found         ${[format, `${naming} names`, ...(which ? [which] : [])].join(", ")}`,
    `backbone      ViT of ${backbone.depth} blocks, ${backbone.dim} features, ${backbone.heads} heads, patches of ${backbone.patch}, images of ${formatSize(config.imageSize)}`,
    `head          ${head ? `${head.prototypes} prototypes` : "none"}`,
    `parameters    ${parameters} in ${tensors} tensors`,
    ...(ignored.length > 0 ? [`left out      ${joinNames(ignored)}`] : []),
    ...(fresh.length > 0 ? [`fresh         ${joinNames(fresh)}`] : []),
  ];
}
