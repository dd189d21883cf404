import { expect } from "chai";
import { resolveConfig } from "../../../dino/config/resolve.js";
import type { PartialConfig } from "../../../dino/config/settings.js";
import { createTraining } from "../../../dino/training/create-training.js";
import { readShader } from "../../../engine/adapters/node.js";
import { createDevice, type KernelSet, throwIfFailed } from "../../../engine/core/device.js";
import { leastAdapter } from "../../support/least-adapter.js";

describe("an adapter of the least limits and no features", () => {
  const settings: readonly (readonly [string, PartialConfig])[] = [
    ["the built-in images", { preset: "shapes" }],
    [
      "patches of photographs and 16384 prototypes",
      { data: "photos", arch: "vit_tiny", depth: 2, outDim: 16384, batch: 4 },
    ],
    [
      "other parts of the step",
      { preset: "shapes", optimizer: "lars", centering: "sinkhorn", koleo: 0.1, registers: 4 },
    ],
    ["DINOv2", { method: "dinov2", preset: "shapes", registers: 4 }],
  ];
  for (const kernels of ["cpu", "gpu"] as const satisfies readonly KernelSet[]) {
    for (const [title, changes] of settings) {
      it(`records a step of ${title} with the kernels for a ${kernels}`, async () => {
        using device = await createDevice(await leastAdapter("null"), { shaders: readShader, kernels });
        expect(device.limits.maxStorageBuffersPerShaderStage).to.equal(8);
        const config = resolveConfig(changes);
        using training = await createTraining(device, config);
        await training.step.program.run();
        await device.gpu.queue.onSubmittedWorkDone();
        throwIfFailed(device);
      });
    }
  }
});
