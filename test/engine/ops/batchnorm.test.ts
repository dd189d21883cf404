import { expect } from "chai";
import { batchNorm, batchNormRunning, download, input, record } from "../../../engine/index.js";
import { rng } from "../../../dino/math/random.js";
import { testDevice } from "../../support/device.js";
import { columnStatistics, values } from "../../../reference/operations.js";

describe("batch norm", () => {
  it("moves the running statistics towards each batch, the variance unbiased, and evaluation uses them", async () => {
    const [rows, cols, momentum] = [37, 70, 0.25];
    const device = await testDevice();
    using x = input(device, [rows, cols]);
    using gain = input(device, [cols]);
    using bias = input(device, [cols]);
    using runningMean = input(device, [cols]);
    using runningVariance = input(device, [cols]);
    gain.write(new Float32Array(cols).fill(1));
    runningVariance.write(new Float32Array(cols).fill(1));
    const running = { runningMean, runningVariance };
    using training = await record(device, () => ({ y: batchNorm(x, gain, bias, running, { momentum }) }));
    using evaluation = await record(device, () => ({ y: batchNormRunning(x, gain, bias, running) }));

    const random = rng({ seed: 5, purpose: "batch norm" });
    const mean = new Float64Array(cols);
    const variance = new Float64Array(cols).fill(1);
    for (let run = 0; run < 3; run++) {
      const batch = values([rows, cols], () => Math.fround(run + random.normal()));
      x.write(batch.data);
      await training.run();
      await evaluation.run();
      const found = columnStatistics(batch);
      const [means, variances] = [await download(runningMean), await download(runningVariance)];
      const y = await evaluation.read("y");
      for (let c = 0; c < cols; c++) {
        mean[c] = (1 - momentum) * mean[c]! + momentum * found.mean.data[c]!;
        variance[c] = (1 - momentum) * variance[c]! + (momentum * found.variance.data[c]! * rows) / (rows - 1);
        expect(means[c], `mean ${c} after run ${run}`).to.be.closeTo(mean[c]!, 1e-6);
        expect(variances[c], `variance ${c} after run ${run}`).to.be.closeTo(variance[c]!, 1e-6);
        const normalized = (batch.data[c]! - mean[c]!) / Math.sqrt(variance[c]! + 1e-5);
        expect(y[c], `y ${c} of run ${run}`).to.be.closeTo(normalized, 1e-5);
      }
    }
  });

  it("refuses a single row", async () => {
    const device = await testDevice();
    using x = input(device, [1, 4]);
    using column = input(device, [4]);
    const refused = await record(device, () => ({
      y: batchNorm(x, column, column, { runningMean: column, runningVariance: column }),
    })).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(String(refused)).to.contain("batchNorm: one row has no variance");
  });
});
