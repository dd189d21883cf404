import { expect } from "chai";
import { builtinImages } from "../../../dino/images/builtin.js";
import { type ImageSet, memoryImages } from "../../../dino/images/image-set.js";
import type { Image } from "../../../dino/images/pixels.js";
import { type TrainingEvent, trainInBrowser } from "../../../dino/web/train/browser-training.js";
import { configOf, METHODS, START } from "../../../dino/web/train/settings.js";
import { applyEvent, EMPTY_VIEW } from "../../../dino/web/train/training-view.js";
import type { Checkpoint } from "../../../dino/weights/checkpoint-bytes.js";
import { testDevice } from "../../support/device.js";
import { lineOf } from "../../support/shown-run.js";

async function firstOf(set: ImageSet, count: number): Promise<ImageSet> {
  const images = await Promise.all(Array.from({ length: count }, (_, index) => set.decode(index)));
  const labels = set.labels!.slice(0, count);
  return memoryImages({ images: images as readonly Image[], labels, classes: set.classes });
}

describe("the page that trains", () => {
  it("forgets the steps after the one that it goes on from", () => {
    const progress = { step: 9, steps: 12, epoch: 0, loss: 1, lr: 0, imagesPerSecond: 1 };
    const events: readonly TrainingEvent[] = [
      { kind: "measured", measured: { of: "pixels", top1: 50, trainImages: 2, testImages: 1 } },
      ...[3, 6, 9].map((step) => ({ kind: "line", line: lineOf(step) }) as const),
      { kind: "progress", progress },
      { kind: "begins", step: 6 },
    ];
    const seen = events.reduce(applyEvent, EMPTY_VIEW);
    expect(seen.lines.map(({ step }) => step)).to.deep.equal([3, 6]);
    expect(seen.progress).to.equal(undefined);
    expect(seen.measured).to.have.length(1);
  });

  for (const method of Object.keys(METHODS) as (keyof typeof METHODS)[]) {
    it(`stops while it measures, before there is a state, and in training, with one of that step: ${METHODS[method]}${method === "dino" ? "" : " @long"}`, async () => {
      const device = await testDevice();
      const { train, test } = builtinImages();
      const images = { train: await firstOf(train, 40), test: await firstOf(test, 12) };
      const made = configOf({ ...START, method, steps: "3", batch: "2" });
      if (!("config" in made)) throw new Error(JSON.stringify(made.errors));
      const states: Checkpoint[] = [];
      const stopAt = (isThere: (event: TrainingEvent) => boolean) => {
        const stopping = new AbortController();
        return trainInBrowser({
          ...{ device, images, config: made.config, from: states.at(-1) },
          stop: stopping.signal,
          emit: (event) => isThere(event) && stopping.abort(),
          encode: () => Promise.resolve(new Blob([])),
          saveState: (state) => states.push(state),
        });
      };
      expect(await stopAt(({ kind }) => kind === "begins")).to.equal("stopped");
      expect(states).to.deep.equal([]);
      expect(await stopAt(({ kind }) => kind === "progress")).to.equal("stopped");
      expect(states.map(({ step }) => step)).to.deep.equal([0, 1, 1]);
      expect(await stopAt(() => false)).to.equal("finished");
      expect(states.at(-1)!.step).to.equal(3);
    });
  }
});
