import { expect } from "chai";
import { cards } from "../../bench/steps/cards.js";
import { costByKernel, costOf, costTable } from "../../bench/steps/cost.js";
import { planStep } from "../../bench/steps/memory.js";
import { openDevice } from "../../engine/adapters/node.js";
import {
  attention,
  cast,
  dryRun,
  fill,
  gradients,
  linear,
  matmul,
  record,
  type RecordedDispatch,
  scale,
  type Tensor,
} from "../../engine/index.js";

/** What a device with tensor cores records. */
async function recordedBy(fn: () => Tensor): Promise<readonly RecordedDispatch[]> {
  using nothing = await openDevice({ prefer: "null" });
  const { device } = dryRun({ ...nothing, tensorCores: true });
  using program = await record(device, () => ({ y: fn() }));
  return program.recorded();
}

const ones = (shape: readonly number[]) => cast(fill(shape, 1), "f16");
const sumOf = (recorded: readonly RecordedDispatch[], kernel: RegExp, field: "flops" | "bytes" | "rereadBytes") =>
  recorded
    .filter((dispatch) => kernel.test(dispatch.kernel))
    .reduce((sum, dispatch) => sum + costOf(dispatch)[field], 0);

describe("the predicted cost of a step", () => {
  it("counts 2 M N K operations of a product, batched and in parts of k alike", async () => {
    const product = await recordedBy(() => matmul(ones([300, 64]), ones([64, 520])));
    expect(sumOf(product, /^matmul/, "flops")).to.equal(2 * 300 * 64 * 520);
    const batched = await recordedBy(() => matmul(ones([5, 30, 64]), ones([5, 64, 20])));
    expect(sumOf(batched, /^matmul/, "flops")).to.equal(2 * 5 * 30 * 64 * 20);
    const inParts = await recordedBy(() => matmul(ones([4096, 60]), ones([4096, 20]), { a: true }));
    expect(inParts.map(({ kernel }) => kernel)).to.include("matmul-subgroup-matrix-f32");
    expect(sumOf(inParts, /^matmul/, "flops")).to.equal(2 * 60 * 4096 * 20);
  });

  it("counts the tensors of a product once, and what further tiles read again", async () => {
    const recorded = await recordedBy(() => linear(ones([300, 64]), fill([520, 64], 1), fill([520], 1)));
    const sizes = 4 * 11;
    expect(sumOf(recorded, /^matmul/, "bytes")).to.equal(2 * (300 * 64 + 520 * 64 + 300 * 520) + 4 * 520 + sizes);
    // 3 x 5 tiles of 128 x 128
    expect(sumOf(recorded, /^matmul/, "rereadBytes")).to.equal(2 * (4 * 300 * 64 + 2 * 520 * 64));
  });

  it("counts the products of attention, two forward and seven backward", async () => {
    const recorded = await recordedBy(() => {
      const qkv = ones([3, 50, 3 * 128]);
      return gradients(attention(qkv, 2), ones([3, 50, 128]), [qkv])[0]!;
    });
    expect(sumOf(recorded, /^attention/, "flops")).to.equal(9 * 2 * 3 * 50 * 50 * 128);
  });

  it("takes the longer of memory and arithmetic, and the wait for the start", async () => {
    const [scaling] = (await recordedBy(() => scale(fill([1000, 1000], 1), 2))).slice(-1);
    const large = (await recordedBy(() => matmul(ones([8192, 8192]), ones([8192, 8192])))).slice(-1)[0]!;
    cards.forEach(({ gbPerS, f16Tflops, shares, usPerDispatch }, i) => {
      const ms = 8e6 / (gbPerS * 1e6 * shares.memory) + usPerDispatch / 1000;
      expect(costOf(scaling!).ms[i]).to.be.closeTo(ms, 1e-9);
      const product = (2 * 8192 ** 3) / (f16Tflops * 1e9 * shares.products) + usPerDispatch / 1000;
      expect(costOf(large).ms[i]).to.be.closeTo(product, 1e-9);
    });
  });

  it("prints every kernel of a step, and in the last line the sums", async () => {
    const size = { batch: 2, globalSize: 32, localSize: 16, dim: 64, prototypes: 256, precision: "f16" } as const;
    const { recorded } = await planStep(size);
    const lines = costTable(costByKernel(recorded));
    const start = lines.findIndex((line) => line.startsWith("  kernel ")) + 1;
    const numbers = lines.slice(start).map((line) => line.trim().split(/ +/).slice(1).map(Number));
    const kernels = lines.slice(start, -1).map((line) => line.trim().split(" ")[0]);
    expect(new Set(kernels)).to.deep.equal(new Set(recorded.map(({ kernel }) => kernel)));
    expect(kernels).to.include("matmul-subgroup-matrix");
    const [dispatches, workgroups] = numbers.at(-1)!;
    const groups = recorded.map(({ grid: [x, y, z] }) => x * y * z);
    expect(dispatches).to.equal(recorded.length);
    expect(workgroups).to.equal(groups.reduce((sum, each) => sum + each));
    for (const column of [0, 1]) {
      const each = numbers.slice(0, -1).map((line) => line[column]!);
      expect(each.reduce((sum, value) => sum + value)).to.equal(numbers.at(-1)![column]);
    }
    expect(numbers.at(-1)).to.have.length(5 + cards.length);
  });
});
