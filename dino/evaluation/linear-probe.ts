/** Trains linear classifiers on frozen features on a device, one per learning rate, all at once. */
import {
  add,
  constant,
  createParams,
  crossEntropy,
  type Device,
  input,
  type Input,
  labelRank,
  layoutOf,
  linear,
  mul,
  parameterGradients,
  type Params,
  record,
  reshape,
  scalars,
  scaleRows,
  sgd,
  sum,
  sumLeading,
  type Tensor,
} from "../../engine/index.js";
import { sliceRows } from "../math/feature-rows.js";
import { rng } from "../math/random.js";
import type { Labelled } from "./labelled.js";

export interface ProbeOptions {
  /** Length of a feature vector. */
  readonly dim: number;
  readonly classes: number;
  /** The learning rate of each layer. */
  readonly rates: readonly number[];
  /** The maximum number of rows of a step. */
  readonly batch: number;
  /** Default 0.9. */
  readonly momentum?: number;
  /** Added to the gradient as weightDecay * parameter, biases included, as in torch.optim.SGD; default 0. */
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

/** Accuracy of a layer in percent, and its mean cross-entropy. */
export interface Accuracy {
  readonly top1: number;
  /** Always 100 for five classes or fewer. */
  readonly top5: number;
  readonly loss: number;
}

/** The layers under training; disposing of the probe frees their memory. */
export interface LinearProbe extends Disposable {
  /**
   * Runs one step of SGD on 1 to `batch` rows, each layer at its rate times `factor`, and returns the mean cross-entropy of each
   * layer before the step. Throws on rows or labels of the wrong size or range.
   */
  step(rows: Labelled, factor: number): Promise<Float32Array>;
  /** Measures each layer on the rows. A layer with non-finite scores classifies no row correctly. */
  measure(rows: Labelled): Promise<readonly Accuracy[]>;
  /** Returns the layer of the learning rate with this index. */
  read(rate: number): Promise<LinearLayer>;
}

/** The maximum number of scores of a measured block: 64 MiB. */
const SCORES = 1 << 24;
const MOST_ROWS = 1024;

/**
 * Creates layers whose weights start at the same draws from a normal distribution of standard deviation 0.01 and whose biases
 * start at 0, as in eval_linear.py. All layers form one matrix [rates * classes, dim], so that one product computes their scores;
 * the objective is the sum of each layer's loss times its rate, so that each layer's gradient carries its rate. Throws if the
 * matrix exceeds the largest binding of the device.
 */
export async function createLinearProbe(device: Device, options: ProbeOptions): Promise<LinearProbe> {
  expectBindable(device, options);
  const params = createLayers(device, options);
  const training = await recordStep(params, options);
  const measurement = await recordMeasurement(params, options);
  return {
    async step(rows, factor) {
      expectLabelled(rows, options);
      return training.run(rows, factor);
    },
    async measure(rows) {
      expectLabelled(rows, options);
      return measureInBlocks(measurement, rows, options.rates.length);
    },
    async read(rate) {
      const { dim, classes } = options;
      const all = await params.read();
      const layerOf = (name: string, size: number) => all.get(name)!.slice(rate * size, (rate + 1) * size);
      return { weight: layerOf("weight", classes * dim), bias: layerOf("bias", classes) };
    },
    [Symbol.dispose]() {
      for (const owned of [measurement, training, params]) owned[Symbol.dispose]();
    },
  };
}

function expectBindable(device: Device, { dim, classes, rates }: ProbeOptions): void {
  const bytes = 4 * rates.length * classes * dim;
  const most = device.limits.maxStorageBufferBindingSize;
  if (bytes <= most) return;
  throw new Error(
    `linear: ${rates.length} learning rates of ${classes} classes and ${dim} features take ${bytes} bytes; ` +
      `${device.name} binds at most ${most}. Take fewer learning rates`,
  );
}

/** Creates the parameters of all layers: weight [layers * classes, dim], bias [layers * classes]. */
function createLayers(device: Device, { dim, classes, rates, seed }: ProbeOptions): Params {
  const outputs = rates.length * classes;
  const layout = layoutOf([
    { name: "weight", shape: [outputs, dim], trainable: true },
    { name: "bias", shape: [outputs], trainable: true },
  ]);
  const params = createParams(device, layout, "linear");
  const random = rng({ seed, purpose: "linear weight" });
  const initial = Float32Array.from({ length: classes * dim }, () => 0.01 * random.normal());
  const weight = new Float32Array(outputs * dim);
  rates.forEach((_, layer) => weight.set(initial, layer * initial.length));
  params.write(new Map(Object.entries({ weight, bias: new Float32Array(outputs) })));
  return params;
}

/** A recorded step of SGD. */
interface TrainingStep extends Disposable {
  /** Trains on the rows at each layer's rate times `factor`; returns the loss of each layer before the step. */
  run(rows: Labelled, factor: number): Promise<Float32Array>;
}

async function recordStep(params: Params, options: ProbeOptions): Promise<TrainingStep> {
  const { batch, rates, momentum = 0.9 } = options;
  const { device } = params;
  const rows = openRows(device, batch, options.dim);
  const shares = input(device, [batch], { label: "shares" }); // the weight of each row in the mean, 0 for padding
  const factors = scalars(device, "lr", "weightDecay"); // common to all layers, whose own are in the objective
  const optimizer = sgd(params, { momentum });
  const program = await record(device, () => {
    const rateOf = constant([rates.length], rates, { label: "rates" });
    const entropies = crossEntropy(scoresOf(rows.features, params, options), rows.labels); // [batch, layers]
    const losses = sumLeading(scaleRows(entropies, shares), [rates.length]);
    const objective = withDecay(sum(mul(losses, rateOf)), params, options);
    optimizer.step(parameterGradients(objective, params), factors);
    return { losses };
  });
  return {
    async run(labelled, factor) {
      const count = labelled.labels.length;
      if (count < 1 || count > batch) throw new Error(`linear: expected 1 to ${batch} rows in a step, got ${count}`);
      rows.write(labelled);
      shares.write(padded(new Float32Array(count).fill(1 / count), batch));
      factors.write({ lr: factor, weightDecay: 0 });
      await program.run();
      return program.read("losses");
    },
    [Symbol.dispose]() {
      for (const owned of [program, optimizer, factors, shares, rows]) owned[Symbol.dispose]();
    },
  };
}

/** Adds half the weight decay times each layer's rate times its squared parameters: [] -> []. */
function withDecay(objective: Tensor, params: Params, { rates, classes, weightDecay = 0 }: ProbeOptions): Tensor {
  if (weightDecay <= 0) return objective;
  const outputs = rates.length * classes;
  const halves = Float32Array.from({ length: outputs }, (_, i) => 0.5 * weightDecay * rates[Math.floor(i / classes)]!);
  const strength = constant([outputs], halves, { label: "weight decay" });
  const [weight, bias] = [params.get("weight"), params.get("bias")];
  const squares = mul(weight, scaleRows(weight, strength)); // [outputs, dim]
  return add(objective, add(sum(squares), sum(mul(bias, mul(bias, strength)))));
}

/** A recorded evaluation of a block of rows. */
interface Measurement extends Disposable {
  /** The maximum number of rows of a block. */
  readonly block: number;
  /** Returns the cross-entropy of each row and layer, and the rank of its label among the scores: [rows, layers] each. */
  run(rows: Labelled): Promise<{ readonly entropies: Float32Array; readonly ranks: Float32Array }>;
}

async function recordMeasurement(params: Params, options: ProbeOptions): Promise<Measurement> {
  const { dim, classes, rates } = options;
  const { device } = params;
  const block = Math.max(1, Math.min(MOST_ROWS, Math.floor(SCORES / (rates.length * classes))));
  const rows = openRows(device, block, dim);
  const program = await record(device, () => {
    const scores = scoresOf(rows.features, params, options); // [block, layers, classes]
    return { entropies: crossEntropy(scores, rows.labels), ranks: labelRank(scores, rows.labels) }; // [block, layers]
  });
  return {
    block,
    async run(labelled) {
      rows.write(labelled);
      await program.run();
      return { entropies: await program.read("entropies"), ranks: await program.read("ranks") };
    },
    [Symbol.dispose]() {
      for (const owned of [program, rows]) owned[Symbol.dispose]();
    },
  };
}

/** Measures each layer on all rows, one block at a time. */
async function measureInBlocks(measurement: Measurement, rows: Labelled, layers: number): Promise<Accuracy[]> {
  const total = rows.labels.length;
  const sums = Array.from({ length: layers }, () => ({ top1: 0, top5: 0, loss: 0 }));
  for (let start = 0; start < total; start += measurement.block) {
    const end = Math.min(start + measurement.block, total);
    const { entropies, ranks } = await measurement.run({
      features: sliceRows(rows.features, start, end),
      labels: rows.labels.subarray(start, end),
    });
    for (let i = 0; i < (end - start) * layers; i++) {
      const layer = sums[i % layers]!;
      layer.loss += entropies[i]!;
      if (!Number.isFinite(entropies[i]!)) continue;
      if (ranks[i]! < 1) layer.top1++;
      if (ranks[i]! < 5) layer.top5++;
    }
  }
  return sums.map(({ top1, top5, loss }) => ({
    top1: (100 * top1) / total,
    top5: (100 * top5) / total,
    loss: loss / total,
  }));
}

/** The scores of every layer: [rows, dim] -> [rows, layers, classes]. */
function scoresOf(features: Tensor, params: Params, { rates, classes }: ProbeOptions): Tensor {
  const scores = linear(features, params.get("weight"), params.get("bias"));
  return reshape(scores, [features.shape[0]!, rates.length, classes]);
}

/** Labelled rows in device memory. */
interface RowInputs extends Disposable {
  /** [rows, dim] */
  readonly features: Input;
  /** [rows] u32 */
  readonly labels: Input;
  /** Writes at most as many rows as there is room for, padded with zeros. */
  write(rows: Labelled): void;
}

function openRows(device: Device, rows: number, dim: number): RowInputs {
  const features = input(device, [rows, dim], { label: "features" });
  const labels = input(device, [rows], { label: "labels", dtype: "u32" });
  return {
    features,
    labels,
    write(labelled) {
      features.write(padded(labelled.features.values, rows * dim));
      labels.write(padded(labelled.labels, rows));
    },
    [Symbol.dispose]() {
      for (const owned of [labels, features]) owned[Symbol.dispose]();
    },
  };
}

/** Throws unless the rows have `dim` features and a label each, below the number of classes. */
function expectLabelled({ features, labels }: Labelled, { dim, classes }: ProbeOptions): void {
  const { values, rows } = features;
  if (features.dim !== dim || values.length !== rows * dim || labels.length !== rows) {
    throw new Error(
      `linear: expected rows of ${dim} features and a label each, got ${rows} of ${features.dim} and ${labels.length} labels`,
    );
  }
  const strange = labels.find((label) => !(label >= 0 && label < classes));
  if (strange !== undefined) throw new Error(`linear: expected labels from 0 to ${classes - 1}, got ${strange}`);
}

/** Extends the values with zeros to `length`. */
function padded(values: Float32Array | Int32Array, length: number): Float32Array | Int32Array {
  if (values.length === length) return values;
  const longer = values instanceof Float32Array ? new Float32Array(length) : new Int32Array(length);
  longer.set(values);
  return longer;
}
