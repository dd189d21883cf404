/** `dino demo`: trains on the built-in images, and shows with numbers and pictures what was learnt. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { openDevice } from "../engine/node.js";
import { writeFileAtomically, writeJson } from "./run/checkpoint-file.js";
import { attentionOf, closer, featureMapOf, lookClosely } from "./pictures/close-up.js";
import { resolveConfig, networkConfig } from "./config.js";

import { evaluateKnn, firstOf, oneOfEach, type Part } from "./evaluation/evaluate.js";
import { openParts } from "./evaluation/open-parts.js";
import { indexOfRun, listed, writeFeatures } from "./feature-files.js";
import { type Extracted, extractFeatures, pixelFeatures, viewOf } from "./features.js";
import { loadModel } from "./model.js";
import { backboneOf, createNetwork, initialValues, writeNetwork } from "./network.js";
import type { builtinPresets } from "./presets.js";
import { formatTime, takeReports } from "./progress.js";
import { trainWithProgress } from "./training/start.js";
import { encodePng } from "./pictures/png.js";

/** The recipes for built-in images. */
export type DemoPreset = (typeof builtinPresets)[keyof typeof builtinPresets];

export interface DemoOptions {
  readonly out: string;
  readonly preset: DemoPreset;
  /** Length of the training; that of the preset if left out. */
  readonly steps?: number;
  /** A few steps and images, to see that everything works. */
  readonly quick: boolean;
  /** Takes what there is to say on the way, and the results in words. */
  readonly say: (...lines: readonly string[]) => void;
}

/** What `OUT/summary.json` holds. */
export interface DemoSummary {
  /** k-NN top-1 on held-out images, k 20, in percent. */
  readonly knn: { readonly untrained: number; readonly trained: number; readonly pixels: number };
  readonly attention: string;
  readonly features: string;
  readonly checkpoint: string;
  /** Features of the held-out images, as dino embed writes them. */
  readonly index: string;
  readonly seconds: number;
  readonly device: string;
}

const QUICK = { steps: 20, train: 512, test: 128 } as const;

/** Runs the demo; everything it makes is in `out`. Throws if that folder holds anything but a former run. */
export async function demo({ out, preset, steps, quick, say }: DemoOptions): Promise<DemoSummary> {
  const began = performance.now();
  await expectOurs(out);
  const length = steps ?? (quick ? QUICK.steps : undefined);
  const config = resolveConfig({ preset, out, ...(length !== undefined && { steps: length }) });
  const view = viewOf(config);
  using device = await openDevice();
  say(`device      ${device.name}`);
  const all = await openParts(config.data, { heldOut: 0, seed: 0 });
  const parts = quick ? { train: firstOf(all.train, QUICK.train), test: firstOf(all.test, QUICK.test) } : all;
  const { train, test } = parts;
  say(
    `images      ${train.indices.length} to train on, ${test.indices.length} held out, ${train.images.classes.length} classes`,
  );

  const accuracy = async (title: string, extract: Extract): Promise<number> => {
    using comparing = takeReports(`${title}, comparing`);
    const { results } = await evaluateKnn({
      ...{ parts, ks: [20], device },
      extract: withProgress(title, extract),
      onCompared: comparing.report,
    });
    return results[0]!.top1;
  };
  const pixels = await accuracy("pixels", (part, onProgress) =>
    pixelFeatures(part.images, { ...part, view, onProgress }),
  );
  say(`pixels      k-NN ${percent(pixels)} of the held-out images right, comparing pixel with pixel`);
  const untrained = await accuracyOfUntrained();
  say(`untrained   k-NN ${percent(untrained)}, comparing features of the network before training`);

  const { checkpoint } = await trainWithProgress({ device, config, parts, given: new Set(), resume: false });
  using model = await loadModel(device, checkpoint);
  let features: Extracted | undefined;
  const trained = await accuracy("trained", async (part, onProgress) => {
    const found = await extractFeatures(model, part.images, { ...part, view, onProgress });
    if (part === test) features = { ...found, features: { ...found.features, values: found.features.values.slice() } };
    return found;
  });
  say(`trained     k-NN ${percent(trained)}, comparing features after training`);

  const index = indexOfRun(out);
  await writeFeatures(index, listed(test.images, features!, { data: config.data, checkpoint, which: "teacher" }));
  const chosen = oneOfEach(test);
  const shown = await lookClosely(model, test.images, chosen, closer(view, 3));
  const ofClass = (index: number) => test.images.classes[test.images.labels![index]!]!;
  const labelled = shown.map((one) => ({ ...one, label: ofClass(one.index) }));
  const attention = join(out, "attention.png");
  const title = "What the cls token of the last block attends to";
  const attended = attentionOf(labelled.slice(0, MOST_ATTENDED), { heads: model.vit.heads, title });
  await writeFileAtomically(attention, encodePng(attended));
  const featureMap = join(out, "features.png");
  const { features: ofImages, indices } = features!;
  const scatter = {
    features: ofImages.values,
    dim: ofImages.dim,
    labels: indices.map((index) => test.images.labels![index]!),
    names: test.images.classes,
    title: "Held-out images by their features, coloured by class",
  };
  await writeFileAtomically(featureMap, encodePng(featureMapOf(shown, { dim: model.vit.dim, scatter })));

  const seconds = Math.round((performance.now() - began) / 100) / 10;
  const summary = {
    knn: { untrained, trained, pixels },
    attention,
    features: featureMap,
    checkpoint,
    index,
    seconds,
    device: device.name,
  } satisfies DemoSummary;
  await writeJson(join(out, "summary.json"), summary);
  say(
    "",
    "k-NN accuracy on held-out images",
    `  raw pixels          ${percent(pixels)}`,
    `  untrained network   ${percent(untrained)}`,
    `  after training      ${percent(trained)}   (${signed(trained - untrained)} points)`,
    "",
    `attention   ${attention}`,
    `features    ${featureMap}`,
    `checkpoint  ${checkpoint}`,
    `index       ${index}`,
    `took        ${formatTime(1000 * seconds)}`,
    "",
    "Look at it in a browser:",
    `  npx dino serve ${out} --open`,
    "On images of your own:",
    "  npx dino train --data FOLDER --out runs/mine --preset small-images",
  );
  return summary;

  async function accuracyOfUntrained(): Promise<number> {
    const shape = networkConfig(config);
    using network = createNetwork(device, shape, "untrained");
    writeNetwork(network, initialValues(shape, config));
    const backbone = backboneOf(network);
    return await accuracy("untrained", (part, onProgress) =>
      extractFeatures(backbone, part.images, { ...part, view, onProgress }),
    );
  }
}

type Extract = (part: Part, onProgress: (done: number, total: number) => void) => Promise<Extracted>;

function withProgress(name: string, extract: Extract): (part: Part, title: string) => Promise<Extracted> {
  return async (part, title) => {
    using progress = takeReports(`${name}, ${title}`);
    return await extract(part, progress.report);
  };
}

/** Throws for a folder that holds what no run has left there. */
async function expectOurs(out: string): Promise<void> {
  const left = (await readdir(out).catch(() => [])).filter((name) => !name.startsWith("."));
  if (left.length > 0 && !left.includes("config.json")) {
    throw new Error(
      `--out ${out}: expected an empty folder or a former run, got ${left.length} other files; name another`,
    );
  }
}

/** Images that the picture of attention shows. */
const MOST_ATTENDED = 4;

function percent(value: number): string {
  return `${value.toFixed(1).padStart(5)} %`;
}

function signed(value: number): string {
  return `${value < 0 ? "" : "+"}${value.toFixed(1)}`;
}
