/** The command line of the bench. */
import { Command, InvalidArgumentError, Option } from "commander";
import { precisions, type TorchOptions } from "./against.js";
import { type SharedInput, sharedInputs, parseRecipe, type Recipe } from "./learning/command.js";
import { type ConstantName, readAssumption } from "./ranks/constants.js";

export interface Flags {
  readonly filter: string;
  readonly json: boolean;
  readonly quick: boolean;
  readonly batch?: number;
  readonly accumulate: number;
  readonly recompute: boolean;
  readonly plan: boolean;
  readonly scaling: boolean;
  readonly soak?: number;
  readonly ranks: boolean;
  readonly assume: ReadonlyMap<ConstantName, number>;
  readonly figure?: string;
  readonly billion: boolean;
  readonly profile: boolean;
  readonly trace?: string;
  readonly against?: "torch" | "peers";
  readonly precision: TorchOptions["precision"];
  readonly learning: boolean;
  readonly official?: string;
  readonly recipe: readonly Recipe[];
  readonly seeds: number;
  readonly evaluations: number;
  readonly lend: readonly SharedInput[];
  readonly overwrite: boolean;
}

const EXAMPLES = `
Examples:
  npm run bench -- --filter softmax
  npm run bench -- --ranks --assume networkGbit=100 --assume images=16
  npm run bench -- --billion --quick
  npm run bench -- --learning --official ~/dino --recipe shapes --recipe "shapes flip=0.5 jitter=0.8"`;

/** Parses the command line; ends the process on a wrong option or `--help`. */
export function parseFlags(argv: readonly string[]): Flags {
  return new Command("bench")
    .description("Times every kernel, a training step and the host on this machine, after checking their results.")
    .option("--filter <text>", "only rows whose name contains this", "")
    .option("--json", "print one JSON object", false)
    .option("--quick", "few repeats, to check that everything runs", false)
    .option("--profile", "print the time of each kernel in the training step", false)
    .option("--trace <file>", "write the training step's dispatches for chrome://tracing or ui.perfetto.dev")
    .addOption(
      new Option(
        "--against <whom>",
        "compare with PyTorch on the same rows, or with other WebGPU engines on other workloads; saved in bench/results unless --filter or --quick is given",
      ).choices(["torch", "peers"]),
    )
    .addOption(
      new Option("--precision <name>", "precision of PyTorch; with amp, our training step uses f16")
        .choices(precisions)
        .default("f32"),
    )
    .option("--batch <images>", "images per step; default 64 on a GPU, 1 in software", positive)
    .option("--accumulate <parts>", "gradient accumulation: equal parts of a step", positive, 1)
    .option("--recompute", "recompute blocks in the backward, which saves memory", false)
    .option(
      "--plan",
      "only print the memory of a ViT-S/16 step, and the cost of its kernels; with --precision amp in f16",
      false,
    )
    .option("--scaling", "only time steps of growing batch, image, number of prototypes and depth", false)
    .option("--soak <minutes>", "only train for this long, and report drift of memory and step time", positive)
    .option("--ranks", "only time communication between ranks, and predict training on many GPUs", false)
    .option(
      "--assume <name=number>",
      "a constant of --ranks, such as networkGbit=100; repeatable, the printed table lists the names",
      (text, all: ReadonlyMap<ConstantName, number>) => new Map([...all, readAssumption(text)]),
      new Map<ConstantName, number>(),
    )
    .option("--figure <file>", "PNG file for the efficiency chart of --ranks or the curves of --learning")
    .option("--billion", "only time lists and orders of images in shards, and extrapolate to a billion images", false)
    .option(
      "--learning",
      "only train our code and the official code on the same images with the same settings, and draw their learning curves",
      false,
    )
    .option("--official <folder>", "checkout of facebookresearch/dino for --learning")
    .option(
      "--recipe <recipe>",
      'recipe of --learning: "PRESET SETTING=VALUE ..."; repeatable',
      (text, all: readonly Recipe[]) => [...all, parseRecipe(text)],
      [],
    )
    .option("--seeds <count>", "trainings per recipe and code", positive, 5)
    .option(
      "--evaluations <times>",
      "k-NN evaluations per training, besides the one before the first step",
      positive,
      8,
    )
    .addOption(
      new Option("--lend <what...>", "give the official code our initial values or our crops")
        .choices(sharedInputs)
        .default([], "neither"),
    )
    .option("--overwrite", "train again even if --learning has saved results", false)
    .addHelpText("after", EXAMPLES)
    .parse(argv, { from: "user" })
    .opts<Flags>();
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError("expected a positive whole number");
  return value;
}
