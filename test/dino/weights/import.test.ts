import { existsSync } from "node:fs";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { vitConfig } from "../../../dino/model/configure.js";
import { vit } from "../../../dino/model/vit.js";
import { readCheckpoint, readModel, writeModel } from "../../../dino/weights/checkpoint.js";
import { importNetwork } from "../../../dino/weights/import.js";
import { loadModel } from "../../../dino/weights/load-model.js";
import { encodeSafetensors, evaluate, input, parseSafetensors, type SafeTensor } from "../../../engine/index.js";
import { golden, relmax } from "../../golden/golden.js";
import type { VitCase } from "../../golden/vit.test.js";
import { dino, writeTinyCheckpoint } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";
import { put as putInto, temporaryFolders } from "../../support/temporary-folders.js";

const fixtures = fileURLToPath(new URL("../../fixtures", import.meta.url));

/** The numbers that fixtures/write.py gives a tensor. */
function written(name: string, count: number): number[] {
  if (name.endsWith("weight_g")) return Array.from({ length: count }, () => 1);
  return Array.from({ length: count }, (_, i) => (((37 * i + 11 * name.length) % 64) - 32) / 64);
}

type Tensors = ReadonlyMap<string, SafeTensor>;

describe("import", () => {
  let folder: string;
  const makeFolder = temporaryFolders("import");
  before(async () => void (folder = await makeFolder()));
  const put = (name: string, bytes: Uint8Array | string) => putInto(folder, name, bytes);
  const putTensors = (name: string, tensors: Tensors) => put(name, encodeSafetensors(tensors));
  const fixture = (name: string) => join(fixtures, `${name}.pth`);

  describe("of what PyTorch writes", () => {
    const files = ["backbone", "views", "types"].flatMap((name) => [name, `${name}-legacy`]);
    for (const name of files) {
      it(`has the numbers of ${name}.pth`, async () => {
        const { format, which, config, tensors, ignored, fresh } = await importNetwork(fixture(name), { heads: 2 });
        expect(format).to.equal(name.endsWith("legacy") ? "PyTorch before 1.6" : "PyTorch");
        expect({ which, ignored, fresh }).to.deep.equal({ which: undefined, ignored: [], fresh: [] });
        expect(vitConfig(config)).to.include({ imageRows: 8, patch: 4, dim: 8, depth: 1, heads: 2, mlpRatio: 2 });
        expect(tensors.size).to.equal(18);
        for (const [tensorName, { shape, values }] of tensors) {
          expect(shape.reduce((product, axis) => product * axis)).to.equal(values.length);
          expect([...values], tensorName).to.deep.equal(written(tensorName, values.length));
        }
      });
    }

    it("takes the teacher of a full checkpoint, or the student, with its head", async () => {
      const teacher = await importNetwork(fixture("checkpoint"), { heads: 2 });
      const student = await importNetwork(fixture("checkpoint"), { heads: 2, which: "student" });
      expect(teacher.config).to.include({
        outDim: 6,
        hiddenDim: 8,
        bottleneckDim: 4,
        headLayers: 3,
        useBnInHead: false,
      });
      expect([...teacher.tensors.keys()])
        .to.deep.equal([...student.tensors.keys()])
        .and.have.length(26);
      for (const [name, { values }] of teacher.tensors) {
        expect([...values], name).to.deep.equal(written(name, values.length));
        const sign = name.endsWith("weight_g") ? 1 : -1;
        expect([...student.tensors.get(name)!.values], name).to.deep.equal([...values].map((value) => sign * value));
      }
    });

    it("refuses to take a student where there is one network", async () => {
      const message = await rejection(importNetwork(fixture("backbone"), { heads: 2, which: "student" }));
      expect(message).to.include("the file holds a single network, without a student").and.include("leave --which out");
    });

    for (const name of ["system", "system-legacy"]) {
      it(`does not run what ${name}.pth asks for`, async () => {
        const message = await rejection(importNetwork(fixture(name), { heads: 2 }));
        expect(message).to.include('it refers to "posix.system"').and.include(fixture(name));
        expect(existsSync("dino-import-was-run")).to.equal(false);
      });
    }
  });

  describe("of the golden network", () => {
    const { config: sizes } = golden.json<VitCase>("vit");
    const file = golden.tensors("vit_state");
    const state: Tensors = new Map(file.names.map((name) => [name, file.tensor(name)]));
    const heads = sizes.heads;

    const forms: readonly (readonly [string, string, Tensors])[] = [
      ["plain names, as in the official backbones and timm", "official", state],
      [
        "those of a teacher behind DistributedDataParallel",
        "official",
        renamed(state, (name) => `module.backbone.${name}`),
      ],
      ["Hugging Face's", "Hugging Face", huggingFace(state, { prefix: "" })],
      ["Hugging Face's of a classifier's backbone", "Hugging Face", huggingFace(state, { prefix: "vit." })],
      ["Hugging Face's from transformers 5 on", "Hugging Face", huggingFace(state, { prefix: "", isNew: true })],
    ];
    for (const [what, naming, tensors] of forms) {
      it(`gives its features from ${what}`, async () => {
        const imported = await importNetwork(await putTensors("golden.safetensors", tensors), { heads });
        expect(imported.naming).to.equal(naming);
        const path = join(folder, "golden-model.safetensors");
        await writeModel(path, imported);
        const device = await testDevice();
        using model = await loadModel(device, path);
        const io = golden.tensors("vit_io");
        using x = input(device, io.shape("sq32.x"));
        x.write(io.f32("sq32.x"));
        const { cls } = await evaluate(device, () => ({ cls: vit(model.vit, model.params, x) }));
        expect(relmax(cls, io.f32("sq32.cls"))).to.be.below(2e-5);
      });
    }

    it("is told its heads and its image by the config.json beside Hugging Face's file", async () => {
      await mkdir(join(folder, "hub"));
      const path = await putTensors("hub/model.safetensors", huggingFace(state, { prefix: "" }));
      const said = { num_attention_heads: heads, image_size: sizes.img, hidden_act: "gelu", model_type: "vit" };
      await put("hub/config.json", JSON.stringify(said));
      const { config } = await importNetwork(path);
      expect(vitConfig(config)).to.include({ heads, imageRows: sizes.img, imageCols: sizes.img });
      await put("hub/config.json", JSON.stringify({ ...said, hidden_act: "relu" }));
      expect(await rejection(importNetwork(path))).to.include("expected the activation gelu, got relu");
    });

    it("is told by shapes alone, but for heads of another width than 64 and images that are no squares", async () => {
      const path = await putTensors("plain.safetensors", state);
      expect(await rejection(importNetwork(path))).to.include(`${sizes.dim} features are not a multiple of 64`);
      const [patches, patch] = [(sizes.img / sizes.patch) ** 2, sizes.patch];
      const wide = { rows: patch, cols: patches * patch };
      const { config } = await importNetwork(path, { heads, imageSize: wide });
      expect(config.imageSize).to.deep.equal(wide);
      const square = { rows: 2 * patch, cols: 2 * patch };
      const message = await rejection(importNetwork(path, { heads, imageSize: square }));
      expect(message).to.include(`holds 4 patches of ${patch}, the weights have positions for ${patches}`);
      const odd = changed(state, {
        pos_embed: { dtype: "F32", shape: [1, 4, sizes.dim], data: new Float32Array(4 * sizes.dim) },
      });
      const other = await putTensors("odd.safetensors", odd);
      expect(await rejection(importNetwork(other, { heads }))).to.include("3 positions are not a square");
      const none = await putTensors("none.safetensors", without(state, "pos_embed"));
      expect(await rejection(importNetwork(none, { heads }))).to.include("there is no pos_embed [1, 1 + patches, dim]");
    });

    it("is refused with tokens that no network of this program has, even in part", async () => {
      const token: SafeTensor = { dtype: "F32", shape: [1, 1, sizes.dim], data: new Float32Array(sizes.dim) };
      const path = await putTensors("token.safetensors", changed(state, { dist_token: token }));
      for (const allowPartial of [false, true])
        expect(await rejection(importNetwork(path, { heads, allowPartial }))).to.include(
          "expected no tokens but those of class, mask and registers, got dist_token",
        );
    });

    const prefixes = [
      ["model.", "model."],
      ["model.backbone.", "model."],
      ["encoder.", "encoder."],
      ["module._orig_mod.net.", "net."],
      ["student_backbone.", "student_backbone."],
    ] as const;
    for (const [prefix, found] of prefixes) {
      it(`is found behind ${prefix}`, async () => {
        const imported = await importNetwork(
          await putTensors(
            "prefixed.safetensors",
            renamed(state, (name) => prefix + name),
          ),
          { heads },
        );
        expect(imported.prefix).to.equal(found);
        expect(imported.tensors.size).to.equal(state.size);
        for (const [name, { values }] of imported.tensors)
          expect(values, name).to.deep.equal(file.f32(name.slice("backbone.".length)));
      });
    }

    it("is chosen by its prefix where there are several, leaving all else", async () => {
      const zeros = new Map(
        [...state].map(([name, stored]) => [name, { ...stored, data: new Float32Array(stored.data.length) }]),
      );
      const classifier: SafeTensor = { dtype: "F32", shape: [2], data: Float32Array.of(1, 2) };
      const tensors = new Map([
        ...renamed(zeros as Tensors, (name) => `backbone.${name}`),
        ...renamed(state, (name) => `momentum_backbone.${name}`),
        ["classifier.bias", classifier] as const,
      ]);
      const path = await putTensors("several.safetensors", tensors);
      const listed = "several networks, under backbone., momentum_backbone.; choose one with dino import --prefix";
      expect(await rejection(importNetwork(path, { heads }))).to.include(listed);
      expect(await rejection(importNetwork(path, { heads, prefix: "teacher" }))).to.include(
        "--prefix teacher: expected the prefix of a network, backbone., momentum_backbone.",
      );
      const online = await importNetwork(path, { heads, prefix: "backbone" });
      const momentum = await importNetwork(path, { heads, prefix: "momentum_backbone." });
      expect(online.tensors.get("backbone.norm.weight")!.values.every((value) => value === 0)).to.equal(true);
      expect(momentum.tensors.get("backbone.norm.weight")!.values).to.deep.equal(file.f32("norm.weight"));
      expect(momentum.ignored)
        .to.have.length(state.size + 1)
        .and.include("classifier.bias");
    });

    it("is chosen by the first part of its prefix, and with the wrappers of the file", async () => {
      const tensors = new Map([
        ...renamed(state, (name) => `module.teacher_model.wrapped._orig_mod.${name}`),
        ...renamed(state, (name) => `module.student_model.wrapped._orig_mod.${name}`),
      ]);
      const path = await putTensors("wrapped.safetensors", tensors);
      for (const prefix of ["teacher_model", "module.teacher_model", "module.teacher_model.wrapped._orig_mod."])
        expect((await importNetwork(path, { heads, prefix })).prefix).to.equal("teacher_model.wrapped.");
      expect(await rejection(importNetwork(path, { heads, prefix: "teacher" }))).to.include("expected the prefix of");
    });

    it("is not taken with what lies beside its prefix, unless that is allowed", async () => {
      const beside: SafeTensor = { dtype: "F32", shape: [2], data: Float32Array.of(1, 2) };
      const path = await putTensors(
        "beside.safetensors",
        changed(
          renamed(state, (name) => `encoder.${name}`),
          { "decoder.bias": beside },
        ),
      );
      expect(await rejection(importNetwork(path, { heads }))).to.include("extra decoder.bias;");
      expect((await importNetwork(path, { heads, allowPartial: true })).ignored).to.deep.equal(["decoder.bias"]);
    });

    describe("that does not fit", () => {
      const { dim } = sizes;
      const head: SafeTensor = { dtype: "F32", shape: [10, dim], data: new Float32Array(10 * dim) };
      const cases: readonly (readonly [string, Tensors, string])[] = [
        ["what is missing", without(state, "norm.weight"), "missing backbone.norm.weight;"],
        [
          "what has another shape",
          changed(state, { "norm.bias": { dtype: "F32", shape: [1], data: Float32Array.of(1) } }),
          `misshapen backbone.norm.bias [1] instead of [${dim}];`,
        ],
        ["what is too much, as a classifier", changed(state, { "head.weight": head }), "extra head.weight;"],
        [
          "what a DINOv2 has more, in part",
          changed(state, { "blocks.0.ls1.gamma": { ...head, shape: [10 * dim] }, mask_token: head }),
          `misshapen backbone.mask_token [10, ${dim}] instead of [1, ${dim}], backbone.blocks.0.ls1.gamma [${10 * dim}] instead`,
        ],
      ];
      for (const [what, tensors, message] of cases) {
        it(`tells ${what}`, async () => {
          const path = await putTensors("misfit.safetensors", tensors);
          const found = await rejection(importNetwork(path, { heads }));
          expect(found).to.include(message).and.include("--allow-partial takes what fits");
          expect(found.split("\n")).to.have.length(1);
        });
      }

      it("is taken as far as it fits where that is allowed, the rest drawn from the seed", async () => {
        const tensors = changed(without(state, "blocks.0.mlp.fc1.weight"), { "head.weight": head });
        const path = await putTensors("partial.safetensors", tensors);
        const read = (seed: number) => importNetwork(path, { heads, allowPartial: true, seed });
        const [first, again, other] = [await read(1), await read(1), await read(2)];
        const fresh = "backbone.blocks.0.mlp.fc1.weight";
        expect(first).to.deep.include({ ignored: ["head.weight"], fresh: [fresh] });
        expect(first.tensors.get(fresh)).to.deep.equal(again.tensors.get(fresh));
        expect(first.tensors.get(fresh)).not.to.deep.equal(other.tensors.get(fresh));
        expect([...first.tensors.keys()].some((name) => name.startsWith("head."))).to.equal(false);
        for (const [name, { values }] of first.tensors)
          if (name !== fresh) expect(values, name).to.deep.equal(file.f32(name.slice("backbone.".length)));
      });

      it("is refused where less than half of it fits", async () => {
        const few = new Map([...state].filter(([name]) => !/fc|qkv/.test(name)));
        const path = await putTensors("few.safetensors", few);
        expect(await rejection(importNetwork(path, { heads, allowPartial: true }))).to.include("less than half");
      });

      it("is refused where it is no ViT at all", async () => {
        const path = await putTensors("resnet.safetensors", new Map([["conv1.weight", head]]));
        expect(await rejection(importNetwork(path)))
          .to.include("expected the weights of a ViT")
          .and.include("conv1.weight");
      });
    });

    it("is refused with numbers that are not finite", async () => {
      const broken = changed(state, {
        "norm.bias": { dtype: "F32", shape: [sizes.dim], data: new Float32Array(sizes.dim).fill(NaN) },
      });
      const path = await putTensors("broken.safetensors", broken);
      expect(await rejection(importNetwork(path, { heads }))).to.include("norm.bias: expected finite numbers");
    });
  });

  describe("of a head", () => {
    it("with batch norms takes their statistics, and drops it whole where a part is missing", async () => {
      const run = join(folder, "bn.safetensors");
      await writeTinyCheckpoint(run, { useBnInHead: true, headLayers: 2, normLastLayer: false });
      const tensors = new Map<string, SafeTensor>(parseSafetensors(await readFile(run)));
      const shape = [32];
      tensors.set("head.mlp.1.running_mean", { dtype: "F32", shape, data: new Float32Array(32).fill(2) });
      tensors.set("head.mlp.1.running_var", { dtype: "F32", shape, data: new Float32Array(32).fill(3) });
      tensors.set("head.mlp.1.num_batches_tracked", { dtype: "I64", shape: [], data: BigInt64Array.of(7n) });
      const weights = new Map([...tensors].filter(([name]) => /^(backbone|head)\./.test(name)));
      const { config, ignored, ...whole } = await importNetwork(await putTensors("head.safetensors", weights), {
        heads: 2,
      });
      expect(config).to.include({ useBnInHead: true, headLayers: 2, hiddenDim: 32, bottleneckDim: 16, outDim: 32 });
      expect(ignored).to.deep.equal([]);
      expect(whole.tensors.get("head.mlp.1.running_var")!.values[0]).to.equal(3);
      weights.delete("head.mlp.0.bias");
      const path = await putTensors("torn.safetensors", weights);
      expect(await rejection(importNetwork(path, { heads: 2 }))).to.include("missing head.mlp.0.bias");
      const { tensors: rest, fresh } = await importNetwork(path, { heads: 2, allowPartial: true });
      expect([...rest.keys()].filter((name) => name.startsWith("head."))).to.deep.equal([]);
      expect(fresh).to.deep.equal([]);
    });
  });

  describe("of a run's checkpoint", () => {
    it("is the network of the run, as loadModel has it", async () => {
      const run = join(folder, "run.safetensors");
      await writeTinyCheckpoint(run, { useBnInHead: false, mean: [0.1, 0.2, 0.3], evalResize: 20 });
      const { config, tensors, which } = await importNetwork(run);
      expect(which).to.equal("teacher");
      expect(config).to.deep.include({
        mean: [0.1, 0.2, 0.3],
        evalResize: 20,
        imageSize: { rows: 16, cols: 16 },
        heads: 2,
      });
      const saved = await readModel(run);
      for (const [name, { values }] of tensors) expect(values).to.deep.equal(saved.tensors.get(name)!.values);
      const model = join(folder, "of-run.safetensors");
      await writeModel(model, { config, tensors });
      const { isTrained, ...again } = await readModel(model);
      expect(isTrained).to.equal(false);
      expect(again).to.deep.equal({ config, tensors });
      expect(await rejection(readCheckpoint(model)))
        .to.include("a model without the state of a run")
        .and.include("--init");
    });
  });

  it("is a command that writes a model, but never over what it reads", async () => {
    const out = join(folder, "made", "model.safetensors");
    const made = await dino("import", fixture("checkpoint"), "--heads", "2", "--out", out, "--json");
    expect(made.code, made.stderr).to.equal(0);
    expect(JSON.parse(made.stdout)).to.deep.include({
      ...{
        model: out,
        format: "PyTorch",
        naming: "official",
        which: "teacher",
        prefix: "",
        parameters: 1266,
        tensors: 26,
      },
      backbone: { imageRows: 8, imageCols: 8, patch: 4, dim: 8, depth: 1, heads: 2, mlpRatio: 2 },
      ...{ ignored: [], fresh: [] },
    });
    const before = await readFile(out);
    const over = await dino("import", out, "--out", out);
    expect(over).to.include({ code: 2, stderr: `dino: --out ${out} is the file to import; give another name\n` });
    expect(await readFile(out)).to.deep.equal(before);
    expect(await readdir(join(folder, "made"))).to.deep.equal(["model.safetensors"]);
  }).timeout(60_000);
});

function renamed(tensors: Tensors, rename: (name: string) => string): Tensors {
  return new Map([...tensors].map(([name, stored]) => [rename(name), stored]));
}

function without(tensors: Tensors, name: string): Tensors {
  return new Map([...tensors].filter(([other]) => other !== name));
}

function changed(tensors: Tensors, changes: Readonly<Record<string, SafeTensor>>): Tensors {
  return new Map([...tensors, ...Object.entries(changes)]);
}

/** A backbone under the names of Hugging Face's ViTModel, queries, keys and values apart; from transformers 5 on they are new. */
function huggingFace(state: Tensors, { prefix, isNew = false }: { prefix: string; isNew?: boolean }): Tensors {
  const layer = isNew ? "layers" : "encoder.layer";
  const [proj, fc1, fc2] = isNew
    ? ["attention.o_proj", "mlp.fc1", "mlp.fc2"]
    : ["attention.output.dense", "intermediate.dense", "output.dense"];
  const parts = isNew
    ? ["q", "k", "v"].map((part) => `attention.${part}_proj`)
    : ["query", "key", "value"].map((part) => `attention.attention.${part}`);
  const names: readonly (readonly [RegExp, string])[] = [
    [/^cls_token/, "embeddings.cls_token"],
    [/^pos_embed/, "embeddings.position_embeddings"],
    [/^patch_embed\.proj/, "embeddings.patch_embeddings.projection"],
    [/^norm\./, "layernorm."],
    [/^blocks\./, `${layer}.`],
    [/\.norm1/, ".layernorm_before"],
    [/\.norm2/, ".layernorm_after"],
    [/attn\.proj/, proj],
    [/mlp\.fc1/, fc1],
    [/mlp\.fc2/, fc2],
  ];
  return new Map(
    [...state].flatMap(([name, stored]): [string, SafeTensor][] => {
      const plain = names.reduce((text, [pattern, other]) => text.replace(pattern, other), name);
      if (!plain.includes("attn.qkv") || stored.dtype !== "F32") return [[prefix + plain, stored]];
      const [rows, ...rest] = stored.shape as readonly [number, ...number[]];
      const third = stored.data.length / 3;
      return parts.map((part, i) => [
        prefix + plain.replace("attn.qkv", part),
        { dtype: "F32", shape: [rows / 3, ...rest], data: stored.data.slice(i * third, (i + 1) * third) },
      ]);
    }),
  );
}
