import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { parseConfig, resolveConfig } from "../../../dino/config/resolve.js";
import type { PartialConfig } from "../../../dino/config/settings.js";
import { fitStep, planMemory } from "../../../dino/training/memory-advice.js";
import { dino, drawFolder, tinySettings, writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";

describe("the preset adapt", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-adapt-"));
    await drawFolder(join(folder, "photos"), 6);
    await writeTinyCheckpoint(join(folder, "weights.safetensors"), { seed: 5, mean: [0.1, 0.2, 0.3] });
  });
  after(() => rm(folder, { recursive: true }));

  const train = (out: string, ...flags: readonly string[]) =>
    dino("train", "--data", join(folder, "photos"), "--preset", "adapt", "--out", join(folder, out), ...flags);

  it("goes on from a file alone: crops and backbone are the file's, the losses those of DINOv2", async () => {
    const given = ["--batch", "4", "--steps", "2", "--out-dim", "64", "--threads", "1"];
    const init = join(folder, "weights.safetensors");
    const { code, stderr } = await train("run", "--init", init, ...given);
    expect(code, stderr).to.equal(0);
    expect(stderr).to.include(
      `--init ${init}: backbone taken, fresh mask token, fresh head: that of the file is of --method dino\n`,
    );
    const config = parseConfig(await readFile(join(folder, "run", "config.json"), "utf8"));
    const { imageSize, localSize, patchSize, dim, depth } = tinySettings;
    expect(config).to.deep.include({ imageSize, localSize, patchSize, dim, depth, mean: [0.1, 0.2, 0.3] });
    expect(config).to.deep.include({
      method: "dinov2",
      preset: "adapt",
      layerScale: null,
      maskToken: "optional",
      koleo: 0.1,
    });
  });

  it("asks for a file, and names flags that contradict it", async () => {
    const none = await train("none");
    expect(none.code).to.equal(2);
    expect(none.stderr).to.include("--preset adapt goes on from weights: name a file that has them with --init");
    const other = await train("other", "--batch", "4", "--init", join(folder, "weights.safetensors"), "--depth", "3");
    expect(other.code).to.equal(1);
    expect(other.stderr).to.include("these flags make them one: --depth 1");
  });

  it("computes blocks again, then freezes half of them, where a step does not fit into memory", async () => {
    const device = await testDevice();
    const config = resolveConfig({
      ...{ ...tinySettings, method: "dinov2", depth: 6, data: "photos", batch: 16 },
      imageSize: { rows: 32, cols: 32 },
    });
    const plannedWith = async (changes: PartialConfig) =>
      (await planMemory(device, { ...config, ...changes })).plannedBytes;
    const [whole, again, frozen] = [
      await plannedWith({}),
      await plannedWith({ recompute: true }),
      await plannedWith({ recompute: true, freezeBlocks: 3 }),
    ];
    expect(again).to.be.below(0.8 * whole);
    expect(frozen).to.be.below(again);
    const settingsFor = async (bytes: number, explicit: PartialConfig = {}) =>
      (await fitStep(device, config, { bytes, explicit }))?.settings;
    expect(await settingsFor(whole)).to.equal(undefined);
    expect(await settingsFor(again)).to.deep.equal({ recompute: true });
    expect(await settingsFor(frozen)).to.deep.equal({ recompute: true, freezeBlocks: 3 });
    expect(await settingsFor(0, { freezeBlocks: 0 })).to.deep.equal({ recompute: true });
    expect(await settingsFor(0, { freezeBlocks: 0, recompute: false })).to.equal(undefined);
    const { because } = (await fitStep(device, config, { bytes: again, explicit: {} }))!;
    expect(because).to.match(/^a step then takes \d+ MiB of the \d+ MiB it may take$/);
  });
});
