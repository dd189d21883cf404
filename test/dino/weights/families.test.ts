import { join } from "node:path";
import { expect } from "chai";
import { vitConfig } from "../../../dino/model/configure.js";
import { features } from "../../../dino/model/vit.js";
import { writeModel } from "../../../dino/weights/checkpoint.js";
import { importNetwork } from "../../../dino/weights/import.js";
import { loadModel } from "../../../dino/weights/load-model.js";
import { nameWithoutChunk } from "../../../dino/weights/names.js";
import { encodeSafetensors, evaluate, input } from "../../../engine/index.js";
import { type BackboneCase, backboneConfig, filesOf } from "../../golden/backbone-case.js";
import { goldenV2, relmax, toleranceIn } from "../../golden/golden.js";
import { type Family, stateOf, type Tensors } from "../../golden/published-names.js";
import { testDevice } from "../../support/device.js";
import { put, temporaryFolders } from "../../support/temporary-folders.js";

const familyOfCase = (name: string): Family => (name.startsWith("vit2") ? "dinov2" : "dinov3");

describe("import of DINOv2 and DINOv3", function () {
  this.timeout(60_000);
  let folder: string;
  const makeFolder = temporaryFolders("families");
  before(async () => void (folder = await makeFolder()));
  const putTensors = (name: string, tensors: Tensors) => put(folder, name, encodeSafetensors(tensors));

  for (const name of goldenV2.cases(/^vit[23]_/)) {
    describe(`of ${name}`, () => {
      const golden = goldenV2.json<BackboneCase>(name);
      const file = filesOf(golden, "state");
      const raw: Tensors = new Map(file.names.map((each) => [each, file.tensor(each)]));
      const state: Tensors = new Map([...raw].map(([each, tensor]) => [nameWithoutChunk(each), tensor]));
      const family = familyOfCase(name);
      const prefixed = (prefix: string) => new Map([...raw].map(([each, tensor]) => [prefix + each, tensor]));
      const { heads, registers = 0, ffn } = backboneConfig(golden);
      const hasTimmNames = family === "dinov3" || registers > 0 || ffn !== "mlp"; // else timm has the official ones

      const forms: readonly (readonly [string, string, Tensors])[] = [
        ["official names", "official", raw],
        ["a teacher in training", "official", prefixed("teacher.backbone.")],
        ["a teacher behind FSDP", "official", prefixed("module.backbone._fsdp_wrapped_module.")],
        ["names of Hugging Face", "Hugging Face", stateOf("hf", family, state)],
        ["names of timm", "timm", stateOf("timm", family, state)],
      ];
      for (const [what, naming, tensors] of forms) {
        it(`gives the official features from ${what}`, async () => {
          const path = await putTensors("state.safetensors", tensors);
          const imported = await importNetwork(path, { heads });
          expect(imported.naming).to.equal(hasTimmNames || naming !== "timm" ? naming : "official");
          expect(imported.ignored).to.deep.equal([]);
          const model = join(folder, "model.safetensors");
          await writeModel(model, imported);
          await expectOfficial(golden, model);
        });
      }

      it("has the settings of the file", async () => {
        const { config } = await importNetwork(await putTensors("state.safetensors", raw), { heads });
        const { hidden, imageRows, imageCols, mlpRatio: ratio, ...expected } = backboneConfig(golden);
        const { mlpRatio, dim, ...found } = vitConfig(config);
        const { untiedNorms = { cls: false, localCls: false }, maskKeyBias = false, qkvBias } = expected;
        expect({ ...found, dim }).to.deep.include({
          ...expected,
          ...{ untiedNorms, maskKeyBias: maskKeyBias && qkvBias, layerScale: 1e-5, dropPathRate: 0.1 },
          ...(family === "dinov2" && { imageRows, imageCols }),
        });
        expect(Math.round(mlpRatio * dim)).to.equal(hidden ?? ratio * dim);
      });
    });
  }

  async function expectOfficial(golden: BackboneCase, path: string): Promise<void> {
    const device = await testDevice();
    using model = await loadModel(device, path);
    const io = filesOf(golden, "io");
    for (const name of Object.keys(golden.inputs)) {
      using x = input(device, io.shape(`${name}.x`));
      x.write(io.f32(`${name}.x`));
      const { cls, patches } = await evaluate(device, () => {
        const found = features(model.vit, model.params, x);
        return { cls: found.cls, patches: found.patches };
      });
      const tolerance = toleranceIn(golden.tolerance["forward"]);
      expect(relmax(cls, io.f32(`${name}.plain.x_norm_clstoken`)), name).to.be.below(tolerance);
      expect(relmax(patches, io.f32(`${name}.plain.x_norm_patchtokens`)), name).to.be.below(tolerance);
    }
  }
});
