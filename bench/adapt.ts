/**
 * Compares going on from a backbone with starting anew on a small set that the backbone has not seen: trains a backbone on the
 * built-in images, then three ways on half of the held-out ones, each with several seeds, and measures k-NN on the other half.
 *
 *   node --import tsx bench/adapt.ts [STEPS [BACKBONE-STEPS]]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { presets } from "../dino/config/presets.js";
import { resolveConfig } from "../dino/config/resolve.js";
import { type Config, type PartialConfig, settingNames } from "../dino/config/settings.js";
import { startSettings } from "../dino/config/start-settings.js";
import { writeJson } from "../dino/files/files.js";
import { BUILTIN } from "../dino/images/builtin.js";
import { openSplits } from "../dino/images/sources/open-splits.js";
import type { Splits } from "../dino/images/split.js";
import { settingsOfFile } from "../dino/training/init.js";
import { train } from "../dino/training/train.js";
import { openDevice } from "../engine/adapters/node.js";
import type { Device } from "../engine/index.js";
import { origin } from "./figures/origin.js";
import { trainOurs } from "./learning/ours.js";
import { meanAndSpread } from "./learning/statistics.js";
import { resultsPath } from "./save-result.js";

const SEEDS = [0, 1, 2];
/** Evaluations besides the one before the first step. */
const EVALUATIONS = 2;

/** Settings of `shapes` that fit crops and heads to the built-in images, whatever the method. */
const fitting = settingNames.filter((name) =>
  /crop|eval|flip|jitter|grayscale|blur|solarize|hidden|bottleneck/i.test(name),
);

/** Returns the settings of each way to train. */
async function waysOf(init: string, steps: number): Promise<Readonly<Record<string, Config>>> {
  const { shapes } = presets;
  const fits: PartialConfig = Object.fromEntries(
    fitting.flatMap((name) => (shapes[name] === undefined ? [] : [[name, shapes[name]]])),
  );
  const common = { data: BUILTIN, steps, batch: 16 };
  const start = startSettings(await settingsOfFile(init, {}));
  return {
    "going on": resolveConfig({ ...common, ...fits, preset: "adapt", outDim: 256, init }, { start }),
    "anew, DINO": resolveConfig({ ...common, preset: "shapes" }),
    "anew, DINOv2": resolveConfig({ ...common, preset: "shapes", method: "dinov2" }),
  };
}

/** Trains a backbone on the built-in images; returns its checkpoint. */
async function trainBackbone(device: Device, splits: Splits, { out, steps }: Pick<Config, "out"> & { steps: number }) {
  const config = { ...resolveConfig({ data: BUILTIN, steps }), out, knnEvery: 0 };
  const { checkpoint } = await train({ device, config, splits, explicit: new Set(), resume: false });
  return checkpoint;
}

async function main([steps = "100", backboneSteps = "300"]: readonly string[]): Promise<void> {
  const all = await openSplits(BUILTIN, { heldOut: 0, seed: 0 });
  const { images, indices } = all.test;
  const half = indices.length / 2;
  const splits = {
    train: { images, indices: indices.slice(0, half) },
    test: { images, indices: indices.slice(half) },
  };
  const folder = await mkdtemp(join(tmpdir(), "dino-adapt-"));
  try {
    using device = await openDevice();
    console.error(`training a backbone for ${backboneSteps} steps on ${device.name}`);
    const init = await trainBackbone(device, all, { out: join(folder, "backbone"), steps: Number(backboneSteps) });
    const rows = [];
    for (const [way, config] of Object.entries(await waysOf(init, Number(steps)))) {
      const curves = [];
      for (const seed of SEEDS) {
        const curve = await trainOurs({ device, config: { ...config, seed }, splits, evaluations: EVALUATIONS });
        console.error(`${way}, seed ${seed}: ${curve.points.map(([step, top1]) => `${step}: ${top1}`).join(", ")}`);
        curves.push(curve);
      }
      rows.push({ way, curves });
    }
    await writeJson(resultsPath(device.name, { prefix: "adapt-" }), {
      ...origin(),
      ...{ device: device.name, backboneSteps: Number(backboneSteps), steps: Number(steps), images: half, rows },
    });
    console.log("| training | before | after | steps/s |\n| --- | --- | --- | --- |");
    for (const { way, curves } of rows) {
      const [first, last] = [0, -1].map((at) => meanAndSpread(curves.map(({ points }) => points.at(at)![1])));
      const { mean: rate } = meanAndSpread(curves.map(({ stepsPerSecond }) => stepsPerSecond));
      const cell = ({ mean, spread }: ReturnType<typeof meanAndSpread>) =>
        `${mean.toFixed(1)} ± ${spread.toFixed(1)} %`;
      console.log(`| ${way} | ${cell(first!)} | ${cell(last!)} | ${rate.toFixed(2)} |`);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

await main(process.argv.slice(2));
