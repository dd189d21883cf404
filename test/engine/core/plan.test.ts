import { expect } from "chai";
import fc from "fast-check";
import { openDevice } from "../../../engine/adapters/node.js";
import type { Device } from "../../../engine/core/device.js";
import { plan, type Plan } from "../../../engine/core/plan.js";
import { trace } from "../../../engine/core/recording.js";
import { bytesOf, offsetInOwner, owner, type Resident, type Shape, type Storage } from "../../../engine/core/tensor.js";
import {
  add,
  attention,
  concat,
  fill,
  gelu,
  gradients,
  layernorm,
  linear,
  logSoftmax,
  matmul,
  mean,
  mul,
  repeat,
  reshape,
  scale,
  slice,
  softmax,
  stopGradient,
  sum,
  type Tensor,
} from "../../../engine/index.js";

/** Null device, on which recordings are made but never run. */
let noGpu: Device;

/** A resident tensor without memory. */
function resident(shape: Shape, label = "input"): Tensor {
  const storage: Resident = { kind: "resident", device: noGpu, buffer: {} as GPUBuffer, label };
  return { shape, dtype: "f32", storage, offset: 0 };
}

function planOf(fn: () => readonly Tensor[]): { readonly planned: Plan; readonly returned: readonly Tensor[] } {
  const { result, recording } = trace(noGpu, fn);
  for (const constant of recording.constants) constant[Symbol.dispose]();
  return { planned: plan(recording, Object.fromEntries(result.entries())), returned: result };
}

/** Simulates a plan, tracking which storage each buffer holds. Fails if a kernel would read another storage's values. */
function follow({ dispatches, lifetimes }: Plan, returned: readonly Tensor[]): void {
  const home = new Map<Storage, number>(lifetimes.map(({ storage, buffer }) => [storage, buffer]));
  const holds = new Map<number, Storage>();
  for (const { kernel, tensors } of dispatches) {
    const written = new Set<number>();
    for (const { name, access } of kernel.bindings) {
      const storage = owner(tensors[name]!.storage);
      if (storage.kind === "resident") continue;
      const buffer = home.get(storage)!;
      if (access === "read") expect(holds.get(buffer), `${kernel.file}: ${name}`).to.equal(storage);
      else {
        written.add(buffer);
        holds.set(buffer, storage);
      }
    }
    for (const { name, access } of kernel.bindings) {
      const storage = owner(tensors[name]!.storage);
      if (access === "read")
        expect(written.has(home.get(storage)!), `${kernel.file} reads what it writes`).to.equal(false);
    }
  }
  for (const { storage } of returned) {
    if (owner(storage).kind === "transient") expect(holds.get(home.get(owner(storage))!)).to.equal(owner(storage));
  }
}

/** Expects that tenants of one buffer are never live at the same dispatch, and that each fits. */
function expectDisjoint({ lifetimes, buffers }: Plan): void {
  for (const a of lifetimes) {
    expect(a.storage.bytes).to.be.at.most(buffers[a.buffer]!);
    for (const b of lifetimes) {
      if (a === b || a.buffer !== b.buffer) continue;
      expect(a.last < b.first || b.last < a.first, `${a.storage.label} and ${b.storage.label}`).to.equal(true);
    }
  }
}

/** Steps of a random graph: an operation and two earlier tensors, each a number taken modulo the choices. */
const anySteps = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { minLength: 1, maxLength: 40 });

const COLS = 6;

/** Operations on [rows, COLS], which all compose. */
const operations: readonly ((a: Tensor, b: Tensor) => Tensor)[] = [
  (a, b) => (a.shape[0] === b.shape[0] ? add(a, b) : gelu(a)),
  (a, b) => (a.shape[0] === b.shape[0] ? mul(a, b) : softmax(b)),
  (a, b) => (a.shape[0]! + b.shape[0]! < 500 ? concat([a, b], 0) : slice(a, 0, 1, 3)),
  (a, b) => matmul(softmax(matmul(a, b, { b: true })), b),
  (a) => slice(a, 0, 0, Math.ceil(a.shape[0]! / 2)),
  (a) => scale(a, 0.5),
  (a) => stopGradient(a),
  (a) => reshape(reshape(a, [a.shape[0]! * COLS]), a.shape),
  (a) => repeat(sum(a), a.shape),
];

function grow(steps: readonly (readonly [number, number, number])[]): { all: Tensor[]; parameters: Tensor[] } {
  const parameters = [resident([3, COLS], "a"), resident([70, COLS], "b")];
  const all = [...parameters];
  for (const [which, a, b] of steps)
    all.push(operations[which % operations.length]!(all[a % all.length]!, all[b % all.length]!));
  return { all, parameters };
}

/** Whether two tensors share bytes, compared byte by byte. */
function overlap(a: Tensor, b: Tensor): boolean {
  if (owner(a.storage) !== owner(b.storage)) return false;
  const bytesAt = (x: Tensor) => Array.from({ length: bytesOf(x) }, (_, i) => offsetInOwner(x) + i);
  const bytesOfB = new Set(bytesAt(b));
  return bytesAt(a).some((at) => bytesOfB.has(at));
}

describe("a plan", () => {
  before(async () => {
    noGpu = await openDevice({ prefer: "null" });
  });
  after(() => noGpu[Symbol.dispose]());

  it("never gives one buffer to two tensors that live at once, for any graph with its gradients", () => {
    fc.assert(
      fc.property(anySteps, fc.array(fc.nat(), { maxLength: 3 }), (steps, picks) => {
        const { planned, returned } = planOf(() => {
          const { all, parameters } = grow(steps);
          const grads = gradients(sum(all.at(-1)!), fill([], 1), parameters);
          return [...picks.map((pick) => all[pick % all.length]!), ...grads.filter((g) => g !== undefined)];
        });
        follow(planned, returned);
        expectDisjoint(planned);
        expect(planned.bytes).to.be.at.least(planned.lowerBoundBytes);
        expect(planned.bytes).to.equal(planned.buffers.reduce((a, b) => a + b, 0));
      }),
      { numRuns: 300 },
    );
  });

  it("keeps exactly the dispatches that a returned tensor depends on", () => {
    fc.assert(
      fc.property(anySteps, fc.nat(), (steps, pick) => {
        const { planned, returned } = planOf(() => {
          const { all } = grow(steps);
          return [all[pick % all.length]!];
        });
        planned.dispatches.forEach((dispatch, i) => {
          const written = dispatch.kernel.bindings
            .filter(({ access }) => access !== "read")
            .map(({ name }) => dispatch.tensors[name]!);
          const isUsed = (x: Tensor) => written.some((y) => overlap(x, y));
          const later = planned.dispatches.slice(i + 1).some(({ tensors }) => Object.values(tensors).some(isUsed));
          const last = returned.some(isUsed);
          expect(later || last, dispatch.kernel.file).to.equal(true);
        });
      }),
    );
  });

  for (const [what, build] of [
    ["a transformer's training step", () => transformerStep({ batch: 8, tokens: 50, dim: 96, depth: 6 })],
    ["the same at ViT-Ti's width", () => transformerStep({ batch: 2, tokens: 197, dim: 192, depth: 12 })],
    ["a wide perceptron's training step", () => perceptronStep([4096, 512, 512, 64, 8192])],
  ] as const) {
    it(`needs at most a quarter more than the fullest moment: ${what}`, () => {
      const { planned, returned } = planOf(build);
      follow(planned, returned);
      expectDisjoint(planned);
      expect(planned.bytes).to.be.at.least(planned.lowerBoundBytes);
      expect(planned.bytes / planned.lowerBoundBytes).to.be.at.most(1.25);
      const unshared = planned.lifetimes.reduce((bytes, { storage }) => bytes + storage.bytes, 0);
      expect(planned.bytes).to.be.below(0.7 * unshared);
    });
  }

  it("is empty where only inputs are returned", () => {
    const { planned } = planOf(() => [resident([3])]);
    expect(planned.dispatches).to.have.length(0);
    expect(planned.bytes).to.equal(0);
  });
});

/** Records loss and gradients of a pre-norm transformer whose parameters have no memory. */
function transformerStep(size: { batch: number; tokens: number; dim: number; depth: number }): Tensor[] {
  const { batch, tokens, dim, depth } = size;
  const parameters: Tensor[] = [];
  const parameter = (...shape: number[]): Tensor => {
    parameters.push(resident(shape));
    return parameters.at(-1)!;
  };
  const norm = (x: Tensor) => layernorm(x, parameter(dim), parameter(dim));
  const dense = (x: Tensor, out: number) => linear(x, parameter(out, x.shape.at(-1)!), parameter(out));
  let x: Tensor = dense(resident([batch, tokens, 48]), dim); // [batch, tokens, dim]
  for (let block = 0; block < depth; block++) {
    x = add(x, dense(attention(dense(norm(x), 3 * dim), 3), dim));
    x = add(x, dense(gelu(dense(norm(x), 4 * dim)), dim));
  }
  const cls = reshape(slice(norm(x), 1, 0, 1), [batch, dim]);
  const loss = scale(mean(logSoftmax(dense(cls, 1000))), -1);
  return [loss, ...gradients(loss, fill([], 1), parameters).map((g) => g!)];
}

function perceptronStep(widths: readonly number[]): Tensor[] {
  const parameters: Tensor[] = [];
  let x: Tensor = resident([64, widths[0]!]);
  for (const [i, width] of widths.slice(1).entries()) {
    const weight = resident([width, widths[i]!]);
    parameters.push(weight);
    x = gelu(linear(x, weight));
  }
  const loss = mean(x);
  // what an optimizer would read, summed to a scalar, so that gradients need not all live to the end
  return [loss, ...gradients(loss, fill([], 1), parameters).map((g) => sum(g!))];
}
