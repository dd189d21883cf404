/** `dino export` */
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Command, Option } from "commander";
import { makeFolder, writeFileAtomically } from "../files/files.js";
import { lazyProgress } from "../files/progress.js";
import { exportFiles, type Format, formats } from "../weights/export/formats.js";
import { readNetworkOf } from "../weights/load-model.js";
import type { ReadNetwork } from "../weights/read-network.js";
import { UsageError } from "./flags.js";
import { addCheckpointOptions, type CheckpointOptions } from "./model.js";
import { isSameFile, print, printJson } from "./output.js";

interface ExportFlags extends CheckpointOptions {
  readonly out: string;
  readonly format: Format;
  readonly head?: true;
  readonly overwrite?: true;
  readonly json?: true;
}

export function addExport(dino: Command): void {
  addCheckpointOptions(dino.command("export"), "weights")
    .description("convert a network for other programs: ONNX, safetensors, or a folder for Hugging Face libraries")
    .requiredOption("--out <path>", "output file, or folder with --format hf")
    .addOption(
      new Option(
        "--format <name>",
        "onnx: normalised images of any size in, features and patch tokens out; safetensors: backbone weights under " +
          "official names, which timm also uses; hf: a folder with both, for transformers and transformers.js",
      )
        .choices(formats)
        .makeOptionMandatory(),
    )
    .option(
      "--head",
      "with --format safetensors: include the projection head, and prefix names with `backbone.` and `head.`",
    )
    .option("--overwrite", "replace existing files in --out")
    .option("--json", "print the written files as JSON and nothing else")
    .addHelpText(
      "after",
      "\nThe metadata of every file says how to resize, crop and normalise images; with hf, preprocessor_config.json does too.\n\n" +
        "Examples:\n" +
        "  dino export --checkpoint runs/photos/checkpoint.safetensors --format onnx --out photos.onnx\n" +
        "  dino export --checkpoint runs/photos/checkpoint.safetensors --format hf --out photos-vit",
    )
    .action(async (options: ExportFlags) => {
      const { checkpoint, which, format, out, head } = options;
      if (head && format !== "safetensors") throw new UsageError(`--head: --format ${format} has no place for a head`);
      await expectFree(options);
      const network = await readNetworkOf(checkpoint, which);
      using reports = lazyProgress("tensors");
      const written: { readonly path: string; readonly bytes: number }[] = [];
      for (const { name, encode } of exportFiles(network, format, { head, onProgress: reports.report })) {
        const path = name === undefined ? out : join(out, name);
        if (await isSameFile(path, checkpoint))
          throw new UsageError(`--out ${out}: ${path} is the --checkpoint; give another name`);
        const content = encode();
        await makeFolder(dirname(path));
        await writeFileAtomically(path, content);
        written.push({ path, bytes: Buffer.byteLength(content) });
      }
      if (options.json) printJson({ checkpoint, which, format, ...summary(network), files: written });
      else print(...written.map(({ path, bytes }) => `${path}   ${bytes} bytes`), ...describe(network, format));
    });
}

/** Throws if --out exists and may not be replaced, or is a file where the format writes a folder, or the reverse. */
async function expectFree({ out, format, overwrite }: ExportFlags): Promise<void> {
  const found = await stat(out).catch(() => undefined);
  if (!found) return;
  const wantsFolder = format === "hf";
  if (found.isDirectory() !== wantsFolder) {
    const [expected, got] = wantsFolder ? ["folder", "file"] : ["file", "folder"];
    throw new UsageError(
      `--out ${out}: --format ${format} writes a ${expected}, and this is a ${got}; give another name`,
    );
  }
  const isEmpty = wantsFolder && (await readdir(out)).length === 0;
  if (!isEmpty && !overwrite) {
    const state = wantsFolder ? "already holds files" : "already exists";
    throw new Error(`--out ${out}: ${state}; --overwrite replaces the files to be written, or give another name`);
  }
}

function summary({ vit, backbone }: ReadNetwork) {
  const { imageRows, imageCols, patch, dim, depth, heads, mlpRatio, registers = 0 } = vit;
  const parameters = [...backbone.values()].reduce((sum, { values }) => sum + values.length, 0);
  return { backbone: { imageRows, imageCols, patch, dim, depth, heads, mlpRatio, registers }, parameters };
}

/** Describes inputs and outputs of the exported model. */
function describe({ vit: { dim, channels } }: ReadNetwork, format: Format): readonly string[] {
  switch (format) {
    case "onnx":
      return [
        `images [batch, ${channels}, rows, cols] -> features [batch, ${dim}], patch_tokens [batch, patches, ${dim}]`,
      ];
    case "safetensors":
      return [];
    case "hf":
      return [
        `transformers.js: pixel_values [batch, ${channels}, rows, cols] -> last_hidden_state [batch, 1 + patches, ${dim}]`,
      ];
    default:
      return format satisfies never;
  }
}
