/**
 * A NaN or an infinity in an input reaches every element of the output that it reaches in the float64 reference, and the
 * gradients. Kernels lose one where it passes max, min or clamp: like many GPUs, lavapipe returns their other operand for a NaN.
 */
import { expect } from "chai";
import type { Device } from "../../engine/core/device.js";
import { sizeOf } from "../../engine/index.js";
import { drawRow, type OpRow, recordRow } from "../engine/ops/check-op.js";
import { halfRows, matrixRows, rows } from "../engine/ops/op-table.js";
import { withTensorCoresPlayed } from "../engine/ops/tensor-cores.js";
import { withShaders } from "../support/changed-device.js";
import { testDevice } from "../support/device.js";
import { small } from "./kernel-sets.js";

/** Operations whose gradients need not hold a NaN of an input: linear ones, and gem, whose gradient is 0 unless x > epsilon. */
const NO_GRADIENT =
  /^(add|scale|reshape|repeat|sum|mean|slice|firstTokens|concat|patches|cast|dropPath|gem|rotate|replaceRows|resizeGrid|takeSamples|addToSamples)/;
/** Gradients do not depend on a bias, the third input. */
const BIASED = /^(linear|layernorm|batchNorm)/;
const BIAS = 2;

/** First, middle and last column of the first and the last row: in attention one of the queries, the keys and the values each. */
function places(shape: readonly number[]): readonly number[] {
  const size = sizeOf(shape);
  const cols = shape.at(-1) ?? 1;
  const columns = [0, Math.floor(cols / 2), cols - 1];
  return [...new Set([0, size - cols].flatMap((start) => columns.map((column) => start + column)))];
}

const isLost = (found: Float32Array, expected: Float64Array) =>
  expected.some((v, i) => !Number.isFinite(v) && Number.isFinite(found[i]!));
const isFinite = (x: Float32Array) => x.every((v) => Number.isFinite(v));

/** Whether the queries', keys' or values' part of a gradient of qkv is finite though q, k or v held a NaN; dv may be for v. */
function hidesFromPart(gradient: Float32Array, width: number, at: number): boolean {
  const dim = width / 3;
  const parts = at % width < 2 * dim ? [0, 1, 2] : [0, 1];
  return parts.some((part) => isFinite(gradient.filter((_, i) => Math.floor((i % width) / dim) === part)));
}

/** Returns where a row loses a NaN or an infinity. */
async function losses(row: OpRow, device: Device): Promise<readonly string[]> {
  const drawn = drawRow(row);
  using recorded = await recordRow(row, device, drawn);
  const found: string[] = [];

  const put = async (input: number, at: number, value: number) => {
    const { shape, data } = drawn.inputs[input]!;
    const changed = data.slice();
    changed[at] = value;
    recorded.inputs[input]!.write(changed);
    const { y, gradients } = await recorded.run();
    recorded.inputs[input]!.write(data);

    const expected = row.ref(...drawn.inputs.map((x, i) => (i === input ? { shape, data: changed } : x)));
    const where = `${value} of input ${input} at ${at}`;
    if (isLost(y, expected.data)) found.push(`${where}, in the output`);
    if (!Number.isNaN(value) || isFinite(y) || gradients.length === 0) return;
    if (NO_GRADIENT.test(row.op) || (BIASED.test(row.op) && input === BIAS)) return;
    const hides = row.op.startsWith("attention")
      ? hidesFromPart(gradients[0]!, shape.at(-1)!, at)
      : gradients.every(isFinite);
    if (hides) found.push(`${where}, in the gradients`);
  };
  for (const [input, { shape }] of drawn.inputs.entries())
    for (const at of places(shape)) for (const value of [NaN, Infinity]) await put(input, at, value);

  if (recorded.trained.length === 0 || row.op.startsWith("gem")) return found;
  for (const at of places(recorded.shape)) {
    const changed = drawn.weight.slice();
    changed[at] = NaN;
    recorded.weight.write(changed);
    const { gradients } = await recorded.run();
    if (gradients.every(isFinite)) found.push(`NaN of the gradient of the output at ${at}`);
  }
  return found;
}

describe("a NaN or an infinity is not lost", () => {
  const check = (table: readonly OpRow[], device: () => Promise<Device>) => {
    for (const row of small(table)) it(row.op, async () => expect(await losses(row, await device())).to.deep.equal([]));
  };
  const gpu = () => testDevice({ kernels: "gpu" });
  describe("in f32", () => {
    check(rows, gpu);
  });
  describe("in f16", () => {
    check([...halfRows, ...matrixRows], gpu);
  });
  describe("on tensor cores, played", () => {
    check(matrixRows, async () => withTensorCoresPlayed(await gpu(), 32));
  });

  it("as it is where exponents are clamped", async () => {
    const clamping = withShaders(await gpu(), (text, file) =>
      file === "attention-tile-forward"
        ? `${text.replaceAll("exp(", "expOf(")}\nfn expOf(x: vec4f) -> vec4f { return exp(max(x, vec4f(-100.0))); }`
        : text,
    );
    const lost = await losses(
      rows.find(({ op }) => op === "attention")!,
      clamping,
    );
    expect(lost).to.include("NaN of input 0 at 12, in the output");
  });
});
