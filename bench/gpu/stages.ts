/** The stages of `bench:gpu`, the most important first. */
import { join } from "node:path";
import { type Facts, python, root } from "./facts.js";
import type { Stage } from "./stage.js";

export interface StageOptions {
  /** The small form, which shows within minutes on any adapter that every stage works. */
  readonly quick: boolean;
  /** Folder of the official code. */
  readonly official?: string | undefined;
  /** Folder of `prepare-cifar.ts`. */
  readonly cifar?: string | undefined;
  /** Folder for runs and exports, which later stages read. */
  readonly work: string;
}

/** Names of stages that the report looks for. */
export const names = {
  f32: "operations in f32",
  f16: "operations in f16",
  matrices: "operations on tensor cores",
  rows: "rows",
  stepF32: "step in f32",
  stepF16: "step in f16",
  torchF32: "PyTorch in f32",
  torchF16: "PyTorch with AMP in f16",
  torchBf16: "PyTorch with AMP in bf16",
  official: "official code with AMP in f16",
  compiled: "PyTorch compiled, with AMP in f16",
  tune: "tune",
  twice: "two trainings",
  cifar: "CIFAR-10",
  exports: "exports",
} as const;

/** Images of a step; a software adapter takes seconds for one. */
export const BATCH = { full: 64, quick: 1 };

/** Seconds for which the network learns CIFAR-10. */
const CIFAR_SECONDS = { full: 50, quick: 2 };

/** A rehearsal may take longer, on a slow machine. */
const QUICK_PATIENCE = 4;

/** Lists all stages; those that cannot run here say why. */
export function stagesFor(facts: Facts, options: StageOptions): readonly Stage[] {
  const stages = [
    ...operationStages(facts, options),
    ...stepStages(facts, options),
    ...torchStages(facts, options),
    ...trainingStages(facts, options),
  ];
  return options.quick ? stages.map((stage) => ({ ...stage, limitS: QUICK_PATIENCE * stage.limitS })) : stages;
}

const script = (path: string, ...words: readonly string[]): Stage["command"] => [
  process.execPath,
  ...["--import", "tsx", join(root, path), ...words],
];

const batchOf = ({ adapter }: Facts, { quick }: StageOptions): string =>
  String(quick || adapter.kind !== "gpu" ? BATCH.quick : BATCH.full);

const f16Obstacle = ({ adapter }: Facts) => (adapter.f16 ? {} : { obstacle: "the adapter has no shader-f16" });

/** The table of operations against float64, on the kernels for GPUs. */
function operationStages(facts: Facts, { quick }: StageOptions): readonly Stage[] {
  const stage = (name: string, grep: string): Stage => ({
    name,
    command: [
      process.execPath,
      ...[join(root, "node_modules/mocha/bin/mocha.js"), "--reporter", "tap", "--timeout", "60000"],
      ...["test/engine/ops/ops.test.ts", "--grep", grep],
    ],
    expectedS: 20,
    limitS: 100,
    output: "tap",
  });
  const few = quick ? "(softmax|gelu)" : "";
  const { faults, f16, subgroupMatrices } = facts.adapter;
  const obstacle =
    f16 && subgroupMatrices.length > 0 ? undefined : "the adapter has no products of f16 matrices by subgroups";
  return [
    stage(names.f32, `references kernels made for a GPU (?!without)(?!.*@long)${few}`),
    { ...stage(names.f16, `references in f16 ${few}.*beside kernels made for a GPU`), ...f16Obstacle(facts) },
    {
      ...stage(names.matrices, "references in f16 on the tensor cores of the adapter"),
      ...(obstacle !== undefined && { obstacle: [obstacle, ...faults].join("; ") }),
    },
  ];
}

/** Shares of the card's peak, and our training step. */
function stepStages(facts: Facts, options: StageOptions): readonly Stage[] {
  const batch = batchOf(facts, options);
  const step = (name: string, precision: string): Stage => ({
    name,
    command: script(
      "bench/run.ts",
      ...["--json", "--profile", "--filter", "training step", "--batch", batch, "--precision", precision],
      ...(options.quick ? ["--quick"] : []),
    ),
    expectedS: 15,
    limitS: 60,
    output: "json",
  });
  return [
    {
      name: names.rows,
      command: script("bench/gpu/measure-rows.ts", options.quick ? "quick" : "usual", batch),
      expectedS: 50,
      limitS: 120,
      output: "lines",
    },
    { ...step(names.stepF16, "amp"), ...f16Obstacle(facts) },
    step(names.stepF32, "f32"),
  ];
}

/** The same rows and step in PyTorch, and the step of the official code. */
function torchStages(facts: Facts, options: StageOptions): readonly Stage[] {
  const batch = batchOf(facts, options);
  const missing = missingFrom(facts, "torch");
  const noCuda =
    missing ?? ("cuda" in facts.python && facts.python.cuda === null ? "PyTorch sees no CUDA device" : undefined);
  const blocked = (obstacle: string | undefined) => (obstacle === undefined ? {} : { obstacle });
  const torch = (name: string, expectedS: number, ...words: readonly string[]): Stage => ({
    name,
    command: [
      ...([python, join(root, "bench/torch/bench.py"), "--batch", batch] as const),
      ...["--seconds", options.quick ? "0.05" : "0.5", ...words],
    ],
    expectedS,
    limitS: 3 * expectedS,
    output: "json",
  });
  const amp = facts.adapter.kind === "gpu" && noCuda === undefined ? ["--amp"] : [];
  const steps = options.quick ? "1" : "30";
  const few = options.quick ? ["--filter", "training step", "attention", "softmax"] : [];
  const folder = options.official ?? "";
  return [
    { ...torch(names.torchF16, 25, "--precision", "amp"), ...blocked(noCuda) },
    { ...torch(names.torchF32, 30, "--precision", "f32", ...few), ...blocked(missing) },
    { ...torch(names.torchBf16, 25, "--precision", "bf16"), ...blocked(noCuda) },
    {
      name: names.official,
      command: [
        ...([python, join(root, "bench/torch/official_step.py"), "--official", folder] as const),
        ...["--batch", batch, "--steps", steps, ...amp],
      ],
      expectedS: 20,
      limitS: 60,
      output: "json",
      ...blocked(
        options.official === undefined
          ? "--official names no folder with the official code"
          : (missing ?? missingFrom(facts, "torchvision")),
      ),
    },
    {
      ...torch(names.compiled, 45, "--precision", "amp", "--compile", "--filter", "training step"),
      ...blocked(noCuda),
      limitS: 80,
    },
  ];
}

function missingFrom({ python: found }: Facts, name: string): string | undefined {
  if ("error" in found) return found.error;
  return found.packages[name] ? undefined : `${python} has no ${name}; PYTHON names another interpreter`;
}

/** Kernel choice, determinism, learning and exports. */
function trainingStages(facts: Facts, options: StageOptions): readonly Stage[] {
  const { quick, work, cifar } = options;
  const precision = facts.adapter.f16 ? "f16" : "f32";
  const recipe = quick ? ["shapes", "2", "f32"] : ["vit-s16", batchOf(facts, options), precision];
  const recipeFlags = ["--preset", "--batch", "--precision"].flatMap((flag, i) => [flag, recipe[i]!]);
  const length = quick ? ["--steps", "4", "--log-every", "2", "--local-crops-number", "2"] : ["--steps", "50"];
  const runs = join(work, "runs");
  return [
    {
      name: names.tune,
      command: script("bench/gpu/tune-step.ts", ...recipe),
      expectedS: 50,
      limitS: 120,
      output: "json",
    },
    {
      name: names.twice,
      command: script("bench/gpu/train-twice.ts", runs, "--data", "builtin", ...recipeFlags, ...length),
      expectedS: 40,
      limitS: 120,
      output: "json",
    },
    {
      name: names.cifar,
      command: script(
        "bench/gpu/train-cifar.ts",
        ...[cifar ?? "", String(CIFAR_SECONDS[quick ? "quick" : "full"]), quick ? "quick" : "usual"],
      ),
      expectedS: 70,
      limitS: 100,
      output: "json",
      ...(cifar === undefined && { obstacle: "--cifar names no folder of CIFAR-10" }),
    },
    {
      name: names.exports,
      command: script("bench/gpu/open-exports.ts", join(runs, "first"), join(work, "exports")),
      expectedS: 25,
      limitS: 60,
      output: "lines",
      ...("error" in facts.python && { obstacle: facts.python.error }),
    },
  ];
}
