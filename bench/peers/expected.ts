/** Expected results of the workloads, in float64. */
import { sizeOf } from "../../engine/index.js";
import * as reference from "../../reference/operations.js";
import type { Values } from "../../reference/operations.js";
import { rowwise } from "../steps/check.js";
import type { BenchRow, HostTensor } from "../steps/row.js";
import { packHeads } from "./layouts.js";
import type { Outcome } from "./peer.js";
import { draw, type InputNames, inputsOf, type Workload } from "./workloads.js";

/** Maximum deviation from the reference; loose, since less exact engines are not wrong. */
export const TOLERANCE = 1e-3;

/** Returns the relative deviation of an outcome from the reference; infinite if numbers are missing or not finite. */
export type Check = (outcome: Outcome) => number;

export function checkOf(workload: Workload): Check {
  switch (workload.kind) {
    case "matmul": {
      const { a, b } = inputsOf(workload);
      return forward([a, b], [a.shape[0]!, b.shape[1]!], rowwise(reference.matmul()));
    }
    case "softmax": {
      const { x } = inputsOf(workload);
      return forward([x], x.shape, rowwise(reference.softmax));
    }
    case "layernorm": {
      const { x, gamma, beta } = inputsOf(workload);
      return forward([x, gamma, beta], x.shape, rowwise(reference.layernorm(workload.eps)));
    }
    case "attention": {
      const { q, k, v } = inputsOf(workload);
      const [batch, heads, tokens, headDim] = q.shape as readonly [number, number, number, number];
      const perHead = ({ data }: HostTensor) => ({ shape: [batch * heads, 1, tokens, headDim], data }); // each head as a sequence
      const qkv = packHeads(perHead(q), perHead(k), perHead(v));
      return forward([qkv], [batch * heads, tokens, headDim], rowwise(reference.attention(1), 2));
    }
    case "mlp_train":
      return training(workload, inputsOf(workload), mlpLoss);
    case "vitblock_train":
      return training(workload, inputsOf(workload), blockLoss(workload.H, workload.eps));
    default:
      return workload satisfies never;
  }
}

function forward(inputs: readonly HostTensor[], shape: readonly number[], check: BenchRow["check"]): Check {
  return (outcome) =>
    "out" in outcome && outcome.out.length === sizeOf(shape) ? check(inputs, { shape, data: outcome.out }) : Infinity;
}

/** Step of the forward differences, relative to the size of a parameter; in float64 one-sided differences are exact enough. */
const STEP = 1e-6;

/**
 * Checks the loss, and for each parameter the derivative along one random direction. Every entry of the gradient contributes to
 * it, so that no wrong entry goes unnoticed.
 */
function training<Names extends string>(
  { params }: { readonly params: readonly Names[] },
  inputs: Readonly<Record<Names, HostTensor>>,
  loss: (values: Readonly<Record<Names, Values>>) => number,
): Check {
  const entries = Object.entries<HostTensor>(inputs).map(([name, x]) => [name, whole(x)] as const);
  const start = Object.fromEntries(entries) as Record<Names, Values>;
  const expected = loss(start);
  const derivatives = params.map((name, i) => {
    const x = start[name];
    const direction = draw({ shape: x.shape, seed: 900 + i, scale: 1, shift: 0 }).data;
    const step = STEP * Math.sqrt(x.data.reduce((sum, v) => sum + v * v, 0) / x.data.length);
    const moved = reference.values(x.shape, (j) => x.data[j]! + step * direction[j]!);
    return { name, direction, along: (loss({ ...start, [name]: moved }) - expected) / step };
  });
  return (outcome) => {
    if (!("loss" in outcome)) return Infinity;
    const worst = derivatives.reduce(
      (most, { name, direction, along }) => {
        const gradient = outcome.grads[name] ?? new Float32Array();
        let found = 0;
        let squares = 0;
        direction.forEach((d, j) => {
          found += gradient[j]! * d;
          squares += gradient[j]! ** 2;
        });
        return Math.max(most, Math.abs(found - along) / Math.sqrt(squares));
      },
      Math.abs(outcome.loss / expected - 1),
    );
    return Number.isFinite(worst) ? worst : Infinity;
  };
}

type MlpInputs = Readonly<Record<InputNames["mlp_train"], Values>>;
type BlockInputs = Readonly<Record<InputNames["vitblock_train"], Values>>;

function mlpLoss(at: MlpInputs): number {
  return meanSquare(hidden(at, at.x), at.t);
}

function blockLoss(heads: number, eps: number): (at: BlockInputs) => number {
  const norm = reference.layernorm(eps);
  return (at) => {
    const [batch, tokens, dim] = at.x.shape as readonly [number, number, number];
    const x = reference.reshape([batch * tokens, dim])(at.x);
    const qkv = dense(norm(x, at.g1, at.be1), at.wqkv, at.bqkv);
    const attended = reference.attention(heads)(reference.reshape([batch, tokens, 3 * dim])(qkv));
    const h = reference.add(x, dense(reference.reshape([batch * tokens, dim])(attended), at.wo, at.bo));
    return meanSquare(reference.add(h, hidden(at, norm(h, at.g2, at.be2))), at.t);
  };
}

function hidden({ w1, b1, w2, b2 }: Pick<MlpInputs, "w1" | "b1" | "w2" | "b2">, x: Values): Values {
  return dense(reference.gelu(dense(x, w1, b1)), w2, b2);
}

function dense(x: Values, weight: Values, bias: Values): Values {
  return reference.add(reference.matmul()(x, weight), bias);
}

function meanSquare(y: Values, target: Values): number {
  return y.data.reduce((sum, v, i) => sum + (v - target.data[i]!) ** 2, 0) / y.data.length;
}

function whole({ shape, data }: HostTensor): Values {
  return { shape, data: Float64Array.from(data) };
}
