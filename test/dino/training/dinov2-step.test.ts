import { expect } from "chai";
import { WHOLE_BATCH } from "../../../dino/batches/batch-shard.js";
import { batchMasks, maskedPatches, masksOfShard, mostMasked } from "../../../dino/batches/block-masks.js";
import { cropPosition } from "../../../dino/batches/crop-layout.js";
import { rng } from "../../../dino/math/random.js";
import {
  createNetwork,
  type Dinov2Heads,
  initialValues,
  type NetworkConfig,
  writeNetwork,
} from "../../../dino/model/network.js";
import { partMasks, writeMasks } from "../../../dino/training/dinov2-masks.js";
import { createDinov2Step } from "../../../dino/training/dinov2-step.js";
import { download } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";

const head = { inDim: 24, hidden: 16, bottleneck: 8, out: 20, layers: 2, batchNorm: false, normLastLayer: false };
const config: NetworkConfig<Dinov2Heads> = {
  vit: {
    ...{ imageRows: 16, imageCols: 16, patch: 4, dim: 24, depth: 2, heads: 2, mlpRatio: 2, channels: 3 },
    ...{ dropPathRate: 0, registers: 2, maskToken: "optional", layerScale: 0.5 },
  },
  heads: { dino_head: head, ibot_head: { ...head, out: 12 } },
};
const IMAGES = 4;
const options = {
  ...{ rows: 4, cols: 4, images: IMAGES, probability: 0.5, ratios: [0.2, 0.5] as const },
  ...{ minPatches: 2, maxPatches: 8, minAspect: 0.3 },
};
const masks = batchMasks(options, { seed: 3, step: 0 });

/** What two steps give in parts of a batch, without KoLeo, which looks for neighbours in a part alone. */
async function stepsInParts(parts: number) {
  const device = await testDevice();
  using student = createNetwork(device, config, "student");
  using teacher = createNetwork(device, config, "teacher");
  for (const [seed, network] of [student, teacher].entries())
    writeNetwork(network, initialValues(config, { seed, initStd: 0.2 }));
  const [globalSize, localSize] = [
    { rows: 16, cols: 16 },
    { rows: 8, cols: 8 },
  ];
  using step = await createDinov2Step(device, {
    ...{
      student,
      teacher,
      batch: IMAGES,
      globalSize,
      localSize,
      localCrops: 1,
      accumulate: parts,
      mostMasked: mostMasked(options, IMAGES / parts),
    },
    ...{ studentTemperature: 0.1, centerMomentum: 0.5, koleoWeight: 0, ibotWeight: 0.7 },
    ...{ clip: 0.5, layerDecay: 0.9, patchEmbedFactor: 0.2 },
  });
  const laidOut = (crops: number, size: number): Float32Array => {
    const all = new Float32Array(crops * IMAGES * size);
    for (let crop = 0; crop < crops; crop++) {
      for (let image = 0; image < IMAGES; image++) {
        const random = rng({ seed: 5, index: image, purpose: `crop ${crop} of ${size}` });
        const place = cropPosition({ crops, images: IMAGES, parts }, crop, image);
        all.set(
          Float32Array.from({ length: size }, () => random.normal()),
          place * size,
        );
      }
    }
    return all;
  };
  step.globals.write(laidOut(2, 3 * 16 * 16));
  step.locals!.write(laidOut(1, 3 * 8 * 8));
  writeMasks(step.masks, masksOfShard(masks, { images: IMAGES, parts, shard: WHOLE_BATCH }));
  step.hyperparameters.write({ lr: 0.01, weightDecay: 0.1, momentum: 0.9, teacherTemperature: 0.05, frozen: 0 });
  const losses: number[] = [];
  for (let i = 0; i < 2; i++) {
    await step.program.run();
    losses.push(await step.program.readScalar("loss"), await step.program.readScalar("ibot"));
  }
  const centers = [...(await download(step.centers.center)), ...(await download(step.centers.ibot_center))];
  return { losses, centers, norms: [...(await step.program.read("norms"))] };
}

describe("the step of DINOv2", () => {
  it("gives the same in parts of the batch, to rounding, with own numbers of masked patches", async () => {
    const patches = [0, 1, 2, 3].map(
      (rank) =>
        maskedPatches(masksOfShard(masks, { images: IMAGES, parts: 1, shard: { rank, size: IMAGES } }), 16).indices
          .length,
    );
    expect(new Set(patches).size).to.be.above(1);
    const whole = await stepsInParts(1);
    for (const parts of [2, 4]) {
      const found = await stepsInParts(parts);
      for (const name of ["losses", "centers", "norms"] as const) {
        const largest = Math.max(...whole[name].map(Math.abs));
        whole[name].forEach((value, i) =>
          expect(Math.abs(found[name][i]! - value) / largest, `${name} ${i}`).to.be.below(2e-5),
        );
      }
    }
  });

  it("refuses more masked patches than it was recorded for", async () => {
    const device = await testDevice();
    using masked = partMasks(device, config.vit, { crops: 2, globalSize: { rows: 16, cols: 16 }, mostMasked: 3 });
    const write = () => writeMasks([masked], new Uint8Array(32).fill(1, 0, 4));
    expect(write).to.throw("writeMasks: 4 patches are masked; the step was recorded for at most 3");
  });
});
