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
    .option("--quick", "few repeats: does it run at all?", false)
    .option("--profile", "print what each kernel has of the training step", false)
    .option("--trace <file>", "write the training step's dispatches for chrome://tracing or ui.perfetto.dev")
    .addOption(
      new Option(
        "--against <whom>",
        "measure the same rows in PyTorch, or other work in other WebGPU engines; keep all of it in bench/results, unless --filter or --quick leave something out",
      ).choices(["torch", "peers"]),
    )
    .addOption(
      new Option("--precision <name>", "of PyTorch; with amp, our training step is in f16")
        .choices(precisions)
        .default("f32"),
    )
    .option("--batch <images>", "images of a step; 64 on a GPU, 1 in software", positive)
    .option("--accumulate <parts>", "equal parts that the images of a step go through in", positive, 1)
    .option("--recompute", "compute blocks again in the step, for less memory", false)
    .option("--plan", "time nothing: print the memory of a ViT-S/16 step, with --recompute and --accumulate", false)
    .option("--scaling", "time nothing but steps of growing batch, image, number of prototypes and depth", false)
    .option("--soak <minutes>", "train for so long, and say whether memory and time of a step stay the same", positive)
    .option("--ranks", "time nothing but what several ranks wait for, and say what follows for many GPUs", false)
    .option(
      "--assume <name=number>",
      "a constant of --ranks, such as networkGbit=100; as often as wanted, their table has the names",
      (text, all: ReadonlyMap<ConstantName, number>) => new Map([...all, readAssumption(text)]),
      new Map<ConstantName, number>(),
    )
    .option("--figure <file>", "where --ranks draws efficiency over GPUs, and --learning its curves, as a PNG")
    .option(
      "--billion",
      "time nothing but lists and orders of images in shards, and say what a billion would cost",
      false,
    )
    .option(
      "--learning",
      "time nothing but trainings of ours and of the official code on the same images with the same settings, and draw both learning curves",
      false,
    )
    .option("--official <folder>", "of facebookresearch/dino, which --learning trains")
    .option(
      "--recipe <recipe>",
      'of --learning: "PRESET SETTING=VALUE ..."; as often as wanted',
      (text, all: readonly Recipe[]) => [...all, parseRecipe(text)],
      [],
    )
    .option("--seeds <count>", "trainings of a recipe by either code", positive, 5)
    .option(
      "--evaluations <times>",
      "k-NN evaluations of a training besides the one before its first step",
      positive,
      8,
    )
    .addOption(
      new Option("--lend <what...>", "give the official code our start values or our crops instead of its own")
        .choices(sharedInputs)
        .default([], "neither"),
    )
    .option("--overwrite", "train again what --learning finds among its results", false)
    .addHelpText("after", EXAMPLES)
    .parse(argv, { from: "user" })
    .opts<Flags>();
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError("expected a positive whole number");
  return value;
}
