/** Linear layers on frozen features, trained on a device: one for each learning rate, all at once. */
import {
  add,
  constant,
  createParams,
  crossEntropy,
  type Device,
  input,
  labelRank,
  layoutOf,
  linear,
  mul,
  parameterGradients,
  record,
  reshape,
  scalars,
  scaleRows,
  sgd,
  sum,
  sumLeading,
  type Tensor,
} from "../../engine/index.js";
import { rowsOf } from "../math/feature-rows.js";
import { rng } from "../math/random.js";
import type { Labelled } from "./labelled.js";

export interface ProbeOptions {
  /** Numbers of a row of features. */
  readonly dim: number;
  readonly classes: number;
  /** The learning rate of each layer. */
  readonly rates: readonly number[];
  /** The most rows of a step. */
  readonly batch: number;
  /** 0.9 if left out. */
  readonly momentum?: number;
  /** Added to the gradient as weightDecay * parameter, biases included, as in torch.optim.SGD: 0 if left out. */
  readonly weightDecay?: number;
  readonly seed: number;
}

/** A classifier: scores = weight x + bias. */
export interface LinearLayer {
  /** [classes, dim] */
  readonly weight: Float32Array;
  /** [classes] */
  readonly bias: Float32Array;
}

/** How well a layer classifies: percent of the rows, and the mean cross-entropy. */
export interface Accuracy {
  readonly top1: number;
  /** With five classes or fewer it says nothing: 100. */
  readonly top5: number;
  readonly loss: number;
}

/** The layers under training; dispose of it to free their memory. */
export interface LinearProbe extends Disposable {
  /**
   * One step of SGD on at most `batch` rows, each layer at its rate times `factor`; -> the mean cross-entropy of each layer
   * before the step. Throws for rows or labels that do not fit.
   */
  step(rows: Labelled, factor: number): Promise<Float32Array>;
  /** How well each layer classifies these rows. A layer whose scores are no numbers is right about none. */
  measure(rows: Labelled): Promise<readonly Accuracy[]>;
  /** The layer of the rate of that number. */
  read(rate: number): Promise<LinearLayer>;
}

/** Scores held at once while measuring: 64 MiB. */
const SCORES = 1 << 24;
const MOST_ROWS = 1024;

/**
 * Layers whose weights begin at the same draws from a normal of standard deviation 0.01, and biases at 0, as in eval_linear.py.
 * They are one matrix [rates * classes, dim], so that one product serves all; what SGD is given is the sum of each layer's loss
 * times its rate, whose gradient is each layer's own gradient times its rate. Throws where that matrix outgrows the device.
 */
export async function createLinearProbe(device: Device, options: ProbeOptions): Promise<LinearProbe> {
  const { dim, classes, rates, batch, momentum = 0.9, weightDecay = 0, seed } = options;
  const layers = rates.length;
  const outputs = layers * classes;
  const most = device.limits.maxStorageBufferBindingSize;
  if (4 * outputs * dim > most) {
    throw new Error(
      `linear: ${layers} learning rates of ${classes} classes and ${dim} features take ${4 * outputs * dim} bytes; ` +
        `${device.name} binds at most ${most}. Take fewer learning rates`,
    );
  }
  const owned: Disposable[] = [];
  const own = <T extends Disposable>(x: T): T => {
    owned.push(x);
    return x;
  };
  const layout = layoutOf([
    { name: "weight", shape: [outputs, dim], trainable: true },
    { name: "bias", shape: [outputs], trainable: true },
  ]);
  const params = own(createParams(device, layout, "linear"));
  const random = rng({ seed, purpose: "linear weight" });
  const first = Float32Array.from({ length: classes * dim }, () => 0.01 * random.normal());
  const weight = new Float32Array(outputs * dim);
  rates.forEach((_, layer) => weight.set(first, layer * first.length));
  params.write(new Map(Object.entries({ weight, bias: new Float32Array(outputs) })));

  /** [rows, dim] -> [rows, layers, classes] */
  const score = (features: Tensor): Tensor =>
    reshape(linear(features, params.get("weight"), params.get("bias")), [features.shape[0]!, layers, classes]);
  const openRows = (rows: number) => ({
    features: own(input(device, [rows, dim], { label: "features" })),
    labels: own(input(device, [rows], { label: "labels", dtype: "u32" })),
  });

  const shown = openRows(batch);
  const shares = own(input(device, [batch], { label: "shares" })); // of each row in the mean, 0 beyond the last
  const factors = own(scalars(device, "lr", "weightDecay")); // of all layers, whose own are in the objective
  const optimizer = own(sgd(params, { momentum }));
  const training = own(
    await record(device, () => {
      const rateOf = constant([layers], rates, { label: "rates" });
      const entropies = crossEntropy(score(shown.features), shown.labels); // [batch, layers]
      const losses = sumLeading(scaleRows(entropies, shares), [layers]);
      let objective = sum(mul(losses, rateOf));
      if (weightDecay > 0) objective = add(objective, decay(params.get("weight"), params.get("bias")));
      optimizer.step(parameterGradients(objective, params), factors);
      return { losses };
    }),
  );

  /** Half the weight decay of each layer times its rate times the squares of its parameters: [outputs, dim], [outputs] -> []. */
  function decay(weights: Tensor, biases: Tensor): Tensor {
    const halves = Float32Array.from(
      { length: outputs },
      (_, i) => 0.5 * weightDecay * rates[Math.floor(i / classes)]!,
    );
    const strength = constant([outputs], halves, { label: "weight decay" });
    const squares = mul(weights, scaleRows(weights, strength));
    return add(sum(squares), sum(mul(biases, mul(biases, strength))));
  }

  const block = Math.max(1, Math.min(MOST_ROWS, Math.floor(SCORES / outputs)));
  const seen = openRows(block);
  const measuring = own(
    await record(device, () => {
      const scores = score(seen.features); // [block, layers, classes]
      return { entropies: crossEntropy(scores, seen.labels), ranks: labelRank(scores, seen.labels) }; // [block, layers]
    }),
  );

  const check = ({ features, labels }: Labelled): void => {
    const { values, rows } = features;
    if (features.dim !== dim || values.length !== rows * dim || labels.length !== rows) {
      throw new Error(
        `linear: expected rows of ${dim} features and a label each, got ${rows} of ${features.dim} and ${labels.length} labels`,
      );
    }
    const strange = labels.find((label) => !(label >= 0 && label < classes));
    if (strange !== undefined) throw new Error(`linear: expected labels from 0 to ${classes - 1}, got ${strange}`);
  };
  const show = (into: ReturnType<typeof openRows>, { features, labels }: Labelled): void => {
    const size = into.labels.shape[0]!;
    into.features.write(padded(features.values, size * dim));
    into.labels.write(padded(labels, size));
  };

  return {
    async step(rows, factor) {
      check(rows);
      const count = rows.labels.length;
      if (count < 1 || count > batch) throw new Error(`linear: expected 1 to ${batch} rows in a step, got ${count}`);
      show(shown, rows);
      shares.write(padded(new Float32Array(count).fill(1 / count), batch));
      factors.write({ lr: factor, weightDecay: 0 });
      await training.run();
      return training.read("losses");
    },
    async measure(rows) {
      check(rows);
      const total = rows.labels.length;
      const sums = rates.map(() => ({ first: 0, five: 0, loss: 0 }));
      for (let from = 0; from < total; from += block) {
        const count = Math.min(block, total - from);
        show(seen, {
          features: rowsOf(rows.features, from, from + count),
          labels: rows.labels.subarray(from, from + count),
        });
        await measuring.run();
        const entropies = await measuring.read("entropies");
        const ranks = await measuring.read("ranks");
        for (let i = 0; i < count * layers; i++) {
          const layer = sums[i % layers]!;
          layer.loss += entropies[i]!;
          if (!Number.isFinite(entropies[i]!)) continue;
          if (ranks[i]! < 1) layer.first++;
          if (ranks[i]! < 5) layer.five++;
        }
      }
      return sums.map(({ first: top, five, loss }) => ({
        top1: (100 * top) / total,
        top5: (100 * five) / total,
        loss: loss / total,
      }));
    },
    async read(rate) {
      const all = await params.read();
      const of = (name: string, size: number) => all.get(name)!.slice(rate * size, (rate + 1) * size);
      return { weight: of("weight", classes * dim), bias: of("bias", classes) };
    },
    [Symbol.dispose]() {
      for (const x of owned.reverse()) x[Symbol.dispose]();
    },
  };
}

/** The same numbers, and zeros up to a length. */
function padded(values: Float32Array | Int32Array, length: number): Float32Array | Int32Array {
  if (values.length === length) return values;
  const longer = values instanceof Float32Array ? new Float32Array(length) : new Int32Array(length);
  longer.set(values);
  return longer;
}
