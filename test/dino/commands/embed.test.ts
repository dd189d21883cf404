import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { readFeatures } from "../../../dino/evaluation/feature-files.js";
import { evalCrop } from "../../../dino/images/augment.js";
import { readImage } from "../../../dino/images/sources/image-files.js";
import { viewOf } from "../../../dino/model/backbone.js";
import { features } from "../../../dino/model/vit.js";
import { loadModel } from "../../../dino/weights/load-model.js";
import { evaluate, input } from "../../../engine/index.js";
import { dino, drawFolder } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { families, writeModelOf } from "../../support/families.js";

describe("dino embed", function () {
  this.timeout(120_000);
  let folder: string;
  let photos: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-embed-"));
    photos = join(folder, "photos");
    await drawFolder(photos, 3);
    await writeFile(join(photos, "blue", "1.png"), "torn");
  });
  after(() => rm(folder, { recursive: true }));

  for (const family of families) {
    it(`writes the patch tokens of ${family} beside the same features, without registers`, async () => {
      const checkpoint = join(folder, `${family}.safetensors`);
      await writeModelOf(family, checkpoint);
      const words = ["embed", "--checkpoint", checkpoint, "--data", photos, "--batch", "2"];
      const [plain, out] = [join(folder, "plain", `${family}.npy`), join(folder, "patches", `${family}.npy`)];
      expect(await dino(...words, "--out", plain)).to.include({ code: 0 });
      expect(existsSync(plain.replace(".npy", "-patches.npy"))).to.equal(false);
      const { code, stdout, stderr } = await dino(...words, "--out", out, "--patches", "--json");
      expect(code, stderr).to.equal(0);
      const written = await readFeatures(out);
      expect(written).to.deep.equal(await readFeatures(plain));
      expect(written.list.files).to.have.length(5).and.to.not.include("blue/1.png");

      const device = await testDevice();
      using model = await loadModel(device, checkpoint);
      const view = viewOf(model.config);
      const { dim, patch } = model.vit;
      const shape = [5, view.crop.rows / patch, view.crop.cols / patch, dim];
      const { patches } = JSON.parse(stdout) as { readonly patches: { readonly file: string } };
      expect(patches).to.deep.equal({ file: out.replace(".npy", "-patches.npy"), shape });
      const file = await readFile(patches.file);
      const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")}), }`;
      expect(file.subarray(10, 256).toString("latin1")).to.equal(`${header.padEnd(245)}\n`);
      const values = new Float32Array(file.buffer.slice(file.byteOffset + 256, file.byteOffset + file.length));
      expect(values).to.have.length(shape.reduce((product, axis) => product * axis, 1));
      using pixels = input(device, [1, 3, view.crop.rows, view.crop.cols]);
      for (const [i, name] of written.list.files.entries()) {
        pixels.write(evalCrop(await readImage(join(photos, name)), view));
        const expected = await evaluate(device, () => ({ tokens: features(model.vit, model.params, pixels).patches }));
        const { length } = expected.tokens;
        expected.tokens.forEach((value, at) => expect(values[i * length + at]).to.be.closeTo(value, 1e-5));
      }
    });
  }

  it("removes the patches of features that it replaces, and the patches are taken for no index", async () => {
    const out = join(folder, "again", "features.npy");
    const patches = out.replace(".npy", "-patches.npy");
    const words = ["embed", "--checkpoint", join(folder, "DINO.safetensors"), "--data", photos, "--out", out];
    expect(await dino(...words, "--patches")).to.include({ code: 0 });
    for (const command of [
      ["search", join(photos, "red", "0.png"), "--index", patches],
      ["dedupe", "--index", patches],
    ])
      expect((await dino(...command)).stderr).to.equal(
        `dino: ${patches}: expected the features of images, got those of patches; name ${out}\n`,
      );
    const { code, stderr } = await dino(...words);
    expect(code, stderr).to.equal(0);
    expect(stderr).to.include(`removed ${patches}, the patches of the earlier features`);
    expect(existsSync(patches)).to.equal(false);
  });

  it("leaves no file of patches where no image can be decoded", async () => {
    const [torn, out] = [join(folder, "torn"), join(folder, "none", "features.npy")];
    await drawFolder(torn, 0);
    await writeFile(join(torn, "red", "0.png"), "torn");
    const words = ["--checkpoint", join(folder, "DINO.safetensors"), "--data", torn, "--out", out, "--patches"];
    const { code, stderr } = await dino("embed", ...words);
    expect(stderr).to.include("not one of 1 could be decoded");
    expect(code).to.equal(1);
    expect(existsSync(out.replace(".npy", "-patches.npy"))).to.equal(false);
  });
});
