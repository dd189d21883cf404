import { expect } from "chai";
import { block, joined } from "../../dino/model/block.js";
import { positionEmbedding, rotationOf } from "../../dino/model/positions.js";
import { clsOf, prepareTokens } from "../../dino/model/tokens.js";
import { vitSpecs } from "../../dino/model/vit-params.js";
import {
  blockOutputs,
  type GroupOptions,
  type Features,
  features,
  finalNorm,
  intermediateLayers,
} from "../../dino/model/vit.js";
import { nameWithoutChunk } from "../../dino/weights/names.js";
import {
  add,
  concat,
  evaluate,
  fill,
  gradients,
  input,
  type Input,
  mul,
  reshape,
  type Params,
  slice,
  sum,
  type Tensor,
} from "../../engine/index.js";
import { testDevice } from "../support/device.js";
import {
  type BackboneCase,
  backboneConfig,
  type BackboneInput,
  backboneParams,
  expectedBuffers,
  filesOf,
} from "./backbone-case.js";
import { goldenV2, relmax, toleranceIn } from "./golden.js";

/** The official names of outputs. */
const OUTPUTS: Readonly<Record<string, (found: Features) => Tensor | undefined>> = {
  x_norm_clstoken: ({ cls }) => cls,
  x_norm_regtokens: ({ registers }) => registers,
  x_storage_tokens: ({ registers }) => registers,
  x_norm_patchtokens: ({ patches }) => patches,
  x_prenorm: ({ stream }) => stream,
};

describe("golden backbones", () => {
  for (const name of goldenV2.cases(/^vit[23]_/)) describe(name, () => checkBackbone(name));

  it("are all there", () => {
    expect(goldenV2.cases(/^vit2_/)).to.not.deep.equal([]);
    expect(goldenV2.cases(/^vit3_/)).to.not.deep.equal([]);
  });
});

function checkBackbone(caseName: string): void {
  const golden = goldenV2.json<BackboneCase>(caseName);
  const config = backboneConfig(golden);
  const { registers = 0 } = config;
  const io = filesOf(golden, "io");
  const grads = filesOf(golden, "grads");
  const tolerance = (what: string) => toleranceIn(golden.tolerance[what]);
  let params: Params;
  before(async () => {
    params = await backboneParams(golden);
  });
  after(() => params[Symbol.dispose]());

  async function stored(name: string): Promise<Input> {
    const x = input(await testDevice(), io.shape(name));
    x.write(/mask$/.test(name) ? Array.from(io.u8(name)) : io.f32(name));
    return x;
  }

  /** The fixed loss of the outputs that have weights: sum of output^2 * weight; `weights` are theirs, by official names. */
  const fixedLoss = (found: Features, weights: ReadonlyMap<string, Tensor>): Tensor =>
    [...weights]
      .map(([term, weight]) => {
        const output = OUTPUTS[term]!(found)!;
        return sum(mul(mul(output, output), weight));
      })
      .reduce((total, each) => add(total, each));

  async function weightsOf(prefix: string): Promise<Map<string, Input>> {
    const terms = Object.keys(OUTPUTS).filter((term) => io.has(`${prefix}.loss_w.${term}`));
    const inputs = await Promise.all(terms.map((term) => stored(`${prefix}.loss_w.${term}`)));
    return new Map(terms.map((term, i) => [term, inputs[i]!]));
  }

  /** Names of the outputs that a file has below a prefix. */
  const outputsBelow = (prefix: string) => Object.keys(OUTPUTS).filter((output) => io.has(`${prefix}.${output}`));

  function compareOutputs(found: Readonly<Record<string, Float32Array>>, prefix: string): void {
    const outputs = outputsBelow(prefix);
    expect(outputs).to.include.members(["x_norm_clstoken", "x_norm_patchtokens"]);
    for (const output of outputs)
      expect(relmax(found[output]!, io.f32(`${prefix}.${output}`)), `${prefix}.${output}`).to.be.at.most(
        tolerance("forward"),
      );
  }

  /** Compares the gradients of a loss by all parameters: tensors where the file has them, norms of all others. */
  function compareGradients(
    found: Readonly<Record<string, Float32Array>>,
    prefix: string,
    { norms, missing }: { readonly norms: Readonly<Record<string, number>>; readonly missing: readonly string[] },
  ): void {
    const names = Object.keys(golden.parameters);
    expect(names.filter((name) => !(nameWithoutChunk(name) in found))).to.have.members(missing);
    expect([...Object.keys(norms), ...missing]).to.have.members(names);
    const most = tolerance("gradients");
    for (const name of Object.keys(norms)) {
      const gradient = found[nameWithoutChunk(name)]!;
      if (norms[name] === 0) expect(Math.max(...gradient.map(Math.abs)), name).to.equal(0);
      else expect(Math.hypot(...gradient) / norms[name]!, `norm of ${name}`).to.be.closeTo(1, most);
      if (grads.has(`${prefix}.${name}`))
        expect(relmax(gradient, grads.f32(`${prefix}.${name}`)), name).to.be.at.most(most);
      if (config.maskKeyBias && name.endsWith("attn.qkv.bias"))
        expect(Math.max(...gradient.subarray(config.dim, 2 * config.dim).map(Math.abs)), `${name}, keys`).to.equal(0);
    }
  }

  /** The loss and its gradients by the images and the parameters, by name. */
  function withGradients(loss: Tensor, images: readonly Tensor[]): Record<string, Tensor> {
    const names = Object.keys(golden.parameters).map(nameWithoutChunk);
    const outputs: Record<string, Tensor> = { loss };
    gradients(loss, fill([], 1), [...images, ...names.map((name) => params.get(name))]).forEach((gradient, i) => {
      if (gradient) outputs[i < images.length ? `x${i}` : names[i - images.length]!] = gradient;
    });
    return outputs;
  }

  it("has the official parameters in the official order", () => {
    const specs = Object.entries(golden.parameters).map(([name, shape]) => ({ name: nameWithoutChunk(name), shape }));
    expect(vitSpecs(config).map(({ name, shape }) => ({ name, shape }))).to.deep.equal(specs);
    const state = filesOf(golden, "state");
    const expected = expectedBuffers(config);
    for (const buffer of Object.keys(golden.buffers ?? {})) {
      const values = expected.get(nameWithoutChunk(buffer));
      expect(values, buffer).to.not.equal(undefined);
      expect(relmax(state.f32(buffer), values!), buffer).to.be.below(2e-6);
    }
    expect(state.names).to.have.members([...Object.keys(golden.parameters), ...Object.keys(golden.buffers ?? {})]);
  });

  for (const [name, given] of Object.entries(golden.inputs)) {
    const [, , rows, cols] = given.shape;

    it(`${name}: positions and tokens`, async () => {
      using x = await stored(`${name}.x`);
      const found = await evaluate(await testDevice(), () => {
        const rotation = rotationOf(config, rows, cols);
        const twice = (table: Tensor) => concat([table, table], 1);
        return {
          tokens: prepareTokens(config, params.get, x),
          ...(rotation
            ? { rope_cos: twice(rotation.cosines), rope_sin: twice(rotation.sines) }
            : { pos: positionEmbedding(config, params.get("pos_embed"), rows, cols) }),
        };
      });
      expect(relmax(found.tokens, io.f32(`${name}.tokens`))).to.be.at.most(tolerance("forward"));
      for (const [table, values] of Object.entries(found)) {
        const expected = io.f32(`${name}.${table}`);
        if (table === "pos") expect(relmax(values, expected)).to.be.at.most(tolerance("position embedding"));
        if (!table.startsWith("rope")) continue;
        const apart = values.map((v, i) => Math.abs(v - expected[i]!));
        expect(values, table).to.have.length(expected.length);
        expect(Math.max(...apart), table).to.be.at.most(tolerance("rope tables"));
      }
    });

    it(`${name}: outputs, plain and masked`, async () => {
      using x = await stored(`${name}.x`);
      using mask = await stored(`${name}.mask`);
      for (const [kind, options] of Object.entries({ plain: {}, masked: { mask } } satisfies Record<
        string,
        GroupOptions
      >)) {
        const found = await evaluate(await testDevice(), () => {
          const outputs = features(config, params.get, x, options);
          return Object.fromEntries(
            outputsBelow(`${name}.${kind}`).map((output) => [output, OUTPUTS[output]!(outputs)!]),
          );
        });
        compareOutputs(found, `${name}.${kind}`);
      }
    });

    given.intermediate.forEach((asked, k) => {
      it(`${name}: intermediate layers ${JSON.stringify(asked.n)}, ${asked.norm ? "" : "not "}normalised`, async () => {
        using x = await stored(`${name}.x`);
        const first = 1 + registers;
        const found = await evaluate(await testDevice(), () => {
          const outputs: Record<string, Tensor> = {};
          [...blockOutputs(config, params.get, x, asked.n)].forEach((stream, l) => {
            const tokens = asked.norm ? finalNorm(config, params.get, stream) : stream;
            outputs[`${l}.cls`] = clsOf(tokens);
            outputs[`${l}.patches`] = slice(tokens, 1, first, tokens.shape[1]! - first);
            if (registers > 0) outputs[`${l}.extra`] = slice(tokens, 1, 1, registers);
          });
          if (asked.norm)
            intermediateLayers(config, params.get, x, asked.n).forEach((tokens, l) => {
              outputs[`${l}.patches of intermediateLayers`] = slice(tokens, 1, 1, tokens.shape[1]! - 1);
            });
          return outputs;
        });
        const { length } = asked.tensors;
        expect(Object.keys(found).filter((output) => output.endsWith(".cls"))).to.have.length(length);
        for (const [output, values] of Object.entries(found)) {
          const stem = `${name}.inter${k}.${output.replace(/ of .*/, "")}`;
          if (!io.has(stem)) continue;
          const inPlace =
            asked.reshape && output.includes("patches") ? channelsFirst(values, given, config.dim) : values;
          expect(relmax(inPlace, io.f32(stem)), stem).to.be.at.most(tolerance("forward"));
        }
        for (let l = 0; l < length; l++) expect(io.has(`${name}.inter${k}.${l}.patches`)).to.equal(true);
      });
    });

    for (const kind of ["plain", "masked"] as const) {
      const loss = given[`loss_${kind}`];
      if (loss === undefined) continue;
      it(`${name}: gradients, ${kind}`, async () => {
        using x = await stored(`${name}.x`);
        using mask = await stored(`${name}.mask`);
        const weights = await weightsOf(`${name}.${kind}`);
        expect([...weights.keys()]).to.have.members(given[`loss_terms_${kind}`]!);
        const found = await evaluate(await testDevice(), () => {
          const outputs = features(config, params.get, x, kind === "masked" ? { mask } : {});
          return withGradients(fixedLoss(outputs, weights), [x]);
        });
        for (const weight of weights.values()) weight[Symbol.dispose]();
        expect(found["loss"]![0]! / loss, "loss").to.be.closeTo(1, tolerance("loss value"));
        const [norms, missing] = [given[`grad_norms_${kind}`]!, given[`no_grad_${kind}`]!];
        expect(relmax(found["x0"]!, io.f32(`${name}.${kind}.grad_x`)), "grad_x").to.be.at.most(tolerance("gradients"));
        compareGradients(found, `${name}.${kind}`, { norms, missing });
      });
    }
  }

  it("normalises faint tokens with its epsilon", async () => {
    using x = await stored("faint.x");
    const found = await evaluate(await testDevice(), () => {
      const [batch, tokens, dim] = x.shape as readonly [number, number, number];
      const groups = [{ batch, tokens, rotation: undefined, drops: [] }];
      const first = joined(block(config, params.get, { x: reshape(x, [batch * tokens, dim]), groups }, 0));
      return { norm: finalNorm(config, params.get, x), block0: first };
    });
    for (const [output, values] of Object.entries(found))
      expect(relmax(values, io.f32(`faint.${output}`)), output).to.be.at.most(tolerance("forward"));
  });

  const { list } = golden;
  if (!list) return;
  it("outputs and gradients of global and local crops together", async () => {
    const crops = await Promise.all(list.shapes.map((_, i) => stored(`list.x${i}`)));
    const masks: (Input | undefined)[] = [];
    for (const mask of list.masks) masks.push(mask === null ? undefined : await stored(mask));
    const weights = await Promise.all(list.shapes.map((_, i) => weightsOf(`list.${i}`)));
    const found = await evaluate(await testDevice(), () => {
      const outputs = crops.map((x, i) => {
        const mask = masks[i];
        return features(config, params.get, x, { localCrops: i === 1, ...(mask && { mask }) });
      });
      const loss = outputs.map((each, i) => fixedLoss(each, weights[i]!)).reduce((total, each) => add(total, each));
      const named = outputs.flatMap((each, i) =>
        outputsBelow(`list.${i}`).map((output) => [`list.${i}.${output}`, OUTPUTS[output]!(each)!] as const),
      );
      return { ...Object.fromEntries(named), ...withGradients(loss, crops) };
    });
    for (const each of [...crops, ...masks, ...weights.flatMap((map) => [...map.values()])]) each?.[Symbol.dispose]();
    for (const i of crops.keys()) {
      const outputs = outputsBelow(`list.${i}`).map((output) => [output, found[`list.${i}.${output}`]!] as const);
      compareOutputs(Object.fromEntries(outputs), `list.${i}`);
      expect(relmax(found[`x${i}`]!, io.f32(`list.grad_x${i}`))).to.be.at.most(tolerance("gradients"));
    }
    expect(found["loss"]![0]! / list.loss, "loss").to.be.closeTo(1, tolerance("loss value"));
    compareGradients(found, "list", { norms: list.grad_norms, missing: list.no_grad });
  });
}

/** Patches [batch, rows * cols, dim] as [batch, dim, rows, cols]. */
function channelsFirst(values: Float32Array, { grid }: BackboneInput, dim: number): Float32Array {
  const patches = grid[0] * grid[1];
  return values.map((_, i) => {
    const [patch, channel, image] = [i % patches, Math.floor(i / patches) % dim, Math.floor(i / (patches * dim))];
    return values[(image * patches + patch) * dim + channel]!;
  });
}
