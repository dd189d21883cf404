/** Float64 forwards of every operation, written for clarity; the kernels are checked against them. */

/** A float64 tensor on the host. */
export interface Values {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** Creates a tensor from a function of the flat index. */
export function values(shape: readonly number[], at: (index: number) => number): Values {
  const data = new Float64Array(shape.reduce((product, axis) => product * axis, 1));
  for (let i = 0; i < data.length; i++) data[i] = at(i);
  return { shape, data };
}

export function rowsOf(x: Values): { readonly rows: number; readonly cols: number } {
  const cols = x.shape.at(-1) ?? 1;
  return { rows: x.data.length / cols, cols };
}

/** Applies `fn` to every row of the last axis. */
function mapRows(x: Values, fn: (row: Float64Array) => ArrayLike<number>): Values {
  const { rows, cols } = rowsOf(x);
  const data = new Float64Array(x.data.length);
  for (let r = 0; r < rows; r++) data.set(fn(x.data.subarray(r * cols, (r + 1) * cols)), r * cols);
  return { shape: x.shape, data };
}

function total(row: Float64Array): number {
  let sum = 0;
  for (const v of row) sum += v;
  return sum;
}

export const add = (a: Values, b: Values): Values => values(a.shape, (i) => a.data[i]! + b.data[i % b.data.length]!);
export const mul = (a: Values, b: Values): Values => values(a.shape, (i) => a.data[i]! * b.data[i % b.data.length]!);
export const scale =
  (factor: number) =>
  (x: Values): Values =>
    values(x.shape, (i) => factor * x.data[i]!);
export const reshape =
  (shape: readonly number[]) =>
  (x: Values): Values => ({ shape, data: x.data });
export const sum = (x: Values): Values => values([], () => x.data.reduce((a, b) => a + b, 0));
export const mean = (x: Values): Values => values([], () => x.data.reduce((a, b) => a + b, 0) / x.data.length);
export const repeat =
  (shape: readonly number[]) =>
  (x: Values): Values =>
    values(shape, (i) => x.data[i % x.data.length]!);

export const sumLeading =
  (shape: readonly number[]) =>
  (x: Values): Values => {
    const y = values(shape, () => 0);
    x.data.forEach((v, i) => (y.data[i % y.data.length]! += v));
    return y;
  };

/** Computes erf by its series near zero and the continued fraction of erfc beyond, to about 1e-15. */
export function erf(x: number): number {
  const t = Math.abs(x);
  if (t > 6) return Math.sign(x);
  if (t < 2.5) {
    let term = t;
    let series = t;
    for (let n = 1; Math.abs(term) > 1e-18; n++) {
      term *= (-t * t) / n;
      series += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * series) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (t + fraction);
  return Math.sign(x) * (1 - Math.exp(-t * t) / Math.sqrt(Math.PI) / (t + fraction));
}

export const gelu = (x: Values): Values =>
  values(x.shape, (i) => (x.data[i]! * (1 + erf(x.data[i]! / Math.SQRT2))) / 2);

export const softmax = (x: Values): Values =>
  mapRows(x, (row) => {
    const largest = Math.max(...row);
    const e = row.map((v) => Math.exp(v - largest));
    const all = total(e);
    return e.map((v) => v / all);
  });

export const logSoftmax = (x: Values): Values =>
  mapRows(x, (row) => {
    const largest = Math.max(...row);
    const logTotal = Math.log(total(row.map((v) => Math.exp(v - largest))));
    return row.map((v) => v - largest - logTotal);
  });

/** -logSoftmax at the label; all rows of an entry of the first axis share its label. */
export const crossEntropy =
  (labels: readonly number[]) =>
  (x: Values): Values => {
    const { rows, cols } = rowsOf(x);
    const logP = logSoftmax(x);
    return values(x.shape.slice(0, -1), (r) => -logP.data[r * cols + labels[Math.floor((r * labels.length) / rows)]!]!);
  };

/** Rank of the label among the classes, by decreasing score; ties go to the lower index. */
export const labelRank =
  (labels: readonly number[]) =>
  (x: Values): Values => {
    const { rows, cols } = rowsOf(x);
    return values(x.shape.slice(0, -1), (r) => {
      const row = x.data.subarray(r * cols, (r + 1) * cols);
      const order = [...row.keys()].sort((a, b) => row[b]! - row[a]! || a - b);
      return order.indexOf(labels[Math.floor((r * labels.length) / rows)]!);
    });
  };

export const layernorm =
  (epsilon: number) =>
  (x: Values, gain: Values, bias: Values): Values =>
    mapRows(x, (row) => {
      const average = total(row) / row.length;
      const variance = total(row.map((v) => (v - average) ** 2)) / row.length;
      return row.map((v, c) => ((v - average) / Math.sqrt(variance + epsilon)) * gain.data[c]! + bias.data[c]!);
    });

export const l2Normalize = (x: Values): Values =>
  mapRows(x, (row) => {
    const length = Math.max(Math.sqrt(total(row.map((v) => v * v))), 1e-12);
    return row.map((v) => v / length);
  });

export const scaleRows = (x: Values, factors: Values): Values => {
  const perRow = x.data.length / factors.data.length;
  return values(x.shape, (i) => x.data[i]! * factors.data[Math.floor(i / perRow)]!);
};

export const weightNorm = (directions: Values, lengths: Values): Values => scaleRows(l2Normalize(directions), lengths);

export const dropPath =
  (probability: number) =>
  (x: Values, uniform: Values): Values => {
    const perSample = x.data.length / uniform.data.length;
    return values(
      x.shape,
      (i) => (x.data[i]! / (1 - probability)) * Math.floor(1 - probability + uniform.data[Math.floor(i / perSample)]!),
    );
  };

export const matmul =
  (transposed: { readonly a?: boolean; readonly b?: boolean } = {}) =>
  (a: Values, b: Values): Values => {
    const batch = a.shape.length === 3 ? a.shape[0]! : 1;
    const [aRows, aCols] = a.shape.slice(-2) as [number, number];
    const [bRows, bCols] = b.shape.slice(-2) as [number, number];
    const [m, k] = transposed.a ? [aCols, aRows] : [aRows, aCols];
    const n = transposed.b ? bRows : bCols;
    return values([...a.shape.slice(0, -2), m, n], (index) => {
      const z = Math.floor(index / (m * n));
      const row = Math.floor(index / n) % m;
      const col = index % n;
      let acc = 0;
      for (let i = 0; i < k; i++) {
        const left = a.data[(z * aRows + (transposed.a ? i : row)) * aCols + (transposed.a ? row : i)]!;
        const right = b.data[(z * bRows + (transposed.b ? col : i)) * bCols + (transposed.b ? i : col)]!;
        acc += left * right;
      }
      return batch > 0 ? acc : NaN;
    });
  };

export const linear = (x: Values, weight: Values, bias?: Values): Values => {
  const { rows, cols } = rowsOf(x);
  const y = matmul({ b: true })({ shape: [rows, cols], data: x.data }, weight);
  const shape = [...x.shape.slice(0, -1), weight.shape[0]!];
  return bias ? add({ shape, data: y.data }, bias) : { shape, data: y.data };
};

export const slice =
  (axis: number, start: number, length: number) =>
  (x: Values): Values => {
    const inner = x.shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    const size = x.shape[axis]!;
    return values(x.shape.with(axis, length), (i) => {
      const outer = Math.floor(i / (length * inner));
      return x.data[(outer * size + start) * inner + (i % (length * inner))]!;
    });
  };

export const concat =
  (axis: number) =>
  (...parts: Values[]): Values => {
    const first = parts[0]!;
    const shape = first.shape.with(
      axis,
      parts.reduce((acc, x) => acc + x.shape[axis]!, 0),
    );
    const inner = first.shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    return values(shape, (i) => {
      let j = Math.floor(i / inner) % shape[axis]!;
      const outer = Math.floor(i / (inner * shape[axis]!));
      for (const x of parts) {
        const length = x.shape[axis]!;
        if (j < length) return x.data[(outer * length + j) * inner + (i % inner)]!;
        j -= length;
      }
      return NaN;
    });
  };

export const patches =
  (patch: number) =>
  (images: Values): Values => {
    const [batch, channels, rows, cols] = images.shape as [number, number, number, number];
    const down = Math.floor(rows / patch);
    const across = Math.floor(cols / patch);
    return values([batch, down * across, channels * patch * patch], (i) => {
      const x = i % patch;
      const y = Math.floor(i / patch) % patch;
      const channel = Math.floor(i / patch ** 2) % channels;
      const p = Math.floor(i / (patch ** 2 * channels)) % (down * across);
      const image = Math.floor(i / (patch ** 2 * channels * down * across));
      const row = Math.floor(p / across) * patch + y;
      const col = (p % across) * patch + x;
      return images.data[((image * channels + channel) * rows + row) * cols + col]!;
    });
  };

/** Generalised mean over the middle axis, of values clamped to at least epsilon. */
export const gem =
  (power: number, epsilon = 1e-6) =>
  (x: Values): Values => {
    const [batch, tokens, cols] = x.shape as [number, number, number];
    return values([batch, cols], (i) => {
      let acc = 0;
      for (let token = 0; token < tokens; token++) {
        const index = (Math.floor(i / cols) * tokens + token) * cols + (i % cols);
        acc += Math.max(x.data[index]!, epsilon) ** power;
      }
      return (acc / tokens) ** (1 / power);
    });
  };

export const largest = (x: Values): Values => {
  const { cols } = rowsOf(x);
  return values(x.shape.slice(0, -1), (i) => Math.max(...x.data.subarray(i * cols, (i + 1) * cols)));
};

/** The k largest of each row, the largest first, without NaN; -3e38 where there are fewer. */
export const topK =
  (k: number) =>
  (x: Values): Values => {
    const { cols } = rowsOf(x);
    const sorted = (r: number) =>
      x.data
        .slice(r * cols, (r + 1) * cols)
        .filter((v) => !Number.isNaN(v))
        .sort((a, b) => b - a);
    return values([...x.shape.slice(0, -1), k], (i) => sorted(Math.floor(i / k))[i % k] ?? -3e38);
  };

/** Attention probabilities of every head: qkv [batch, tokens, 3 * dim] -> [batch, heads, tokens, tokens]. */
export const attentionProbabilities =
  (heads: number) =>
  (qkv: Values): Values => {
    const [batch, tokens, width] = qkv.shape as [number, number, number];
    const headDim = width / 3 / heads;
    const at = (b: number, token: number, which: number, head: number, d: number) =>
      qkv.data[(b * tokens + token) * width + (which * heads + head) * headDim + d]!;
    return softmax(
      values([batch, heads, tokens, tokens], (i) => {
        const key = i % tokens;
        const query = Math.floor(i / tokens) % tokens;
        const head = Math.floor(i / tokens ** 2) % heads;
        const b = Math.floor(i / (tokens ** 2 * heads));
        let score = 0;
        for (let d = 0; d < headDim; d++) score += at(b, query, 0, head, d) * at(b, key, 1, head, d);
        return score / Math.sqrt(headDim);
      }),
    );
  };

export const attention =
  (heads: number) =>
  (qkv: Values): Values => {
    const [batch, tokens, width] = qkv.shape as [number, number, number];
    const dim = width / 3;
    const headDim = dim / heads;
    const p = attentionProbabilities(heads)(qkv);
    return values([batch, tokens, dim], (i) => {
      const d = i % dim;
      const head = Math.floor(d / headDim);
      const query = Math.floor(i / dim) % tokens;
      const b = Math.floor(i / (dim * tokens));
      let acc = 0;
      for (let j = 0; j < tokens; j++) {
        acc +=
          p.data[((b * heads + head) * tokens + query) * tokens + j]! *
          qkv.data[(b * tokens + j) * width + 2 * dim + d]!;
      }
      return acc;
    });
  };

/** Applies a function to each group of sequences [batch, tokens, cols] in [rows, cols], and concatenates the results' rows. */
export const perGroup =
  (groups: readonly Group[], apply: (x: Values, group: number) => Values) =>
  (x: Values): Values => {
    const { cols } = rowsOf(x);
    let first = 0;
    const results = groups.map(({ batch, tokens }, i) => {
      const part = slice(0, first, batch * tokens)(x);
      first += batch * tokens;
      const y = apply({ ...part, shape: [batch, tokens, cols] }, i);
      return { ...y, shape: [rowsOf(y).rows, rowsOf(y).cols] };
    });
    return concat(0)(...results);
  };

interface Group {
  readonly batch: number;
  readonly tokens: number;
}

export const meanOfRows = (x: Values): Values => {
  const { rows, cols } = rowsOf(x);
  return scale(1 / rows)(sumLeading([cols])(x));
};

/** softmax((x - center) / temperature) over the last axis. */
export const sharpened = (x: Values, center: Values, temperature: Values): Values =>
  softmax(values(x.shape, (i) => (x.data[i]! - center.data[i % center.data.length]!) / temperature.data[0]!));

/** Mean of -sum(q * log p) over the images and all pairs of a teacher view, with targets q, and a different crop. */
const lossBetweenViews = (student: Values, q: Values, studentTemperature: number, views: number): Values => {
  const { rows, cols } = rowsOf(student);
  const batch = rowsOf(q).rows / views;
  const crops = rows / batch;
  const logP = logSoftmax(scale(1 / studentTemperature)(student));
  let loss = 0;
  for (let view = 0; view < views; view++) {
    for (let crop = 0; crop < crops; crop++) {
      if (crop === view) continue;
      for (let i = 0; i < batch * cols; i++)
        loss -= q.data[view * batch * cols + i]! * logP.data[crop * batch * cols + i]!;
    }
  }
  return values([], () => loss / (views * (crops - 1) * batch));
};

const meanEntropy = (q: Values): Values => {
  const entropy = -total(q.data.map((v) => (v === 0 ? 0 : v * Math.log(v))));
  return values([], () => entropy / rowsOf(q).rows);
};

export const distillation =
  (studentTemperature: number, views = 2) =>
  (student: Values, teacher: Values, center: Values, teacherTemperature: Values): Values =>
    lossBetweenViews(student, sharpened(teacher, center, teacherTemperature), studentTemperature, views);

export const meanTargets = (teacher: Values, center: Values, temperature: Values): Values =>
  meanOfRows(sharpened(teacher, center, temperature));

export const teacherEntropy = (teacher: Values, center: Values, temperature: Values): Values =>
  meanEntropy(sharpened(teacher, center, temperature));

/** exp(x / temperature), with columns and then rows divided by their sums, `iterations` times. */
export const sinkhorn =
  (iterations: number) =>
  (x: Values, temperature: Values): Values => {
    const { rows, cols } = rowsOf(x);
    let q = values(x.shape, (i) => Math.exp(x.data[i]! / temperature.data[0]!));
    for (let iteration = 0; iteration < iterations; iteration++) {
      const columns = sumLeading([cols])(q);
      q = values(x.shape, (i) => q.data[i]! / columns.data[i % cols]!);
      const sums = Array.from({ length: rows }, (_, r) => total(q.data.subarray(r * cols, (r + 1) * cols)));
      q = values(x.shape, (i) => q.data[i]! / sums[Math.floor(i / cols)]!);
    }
    return q;
  };

export const sinkhornDistillation =
  (studentTemperature: number, iterations: number) =>
  (student: Values, teacher: Values, teacherTemperature: Values): Values =>
    lossBetweenViews(student, sinkhorn(iterations)(teacher, teacherTemperature), studentTemperature, 2);

export const sinkhornMean =
  (iterations: number) =>
  (teacher: Values, temperature: Values): Values =>
    meanOfRows(sinkhorn(iterations)(teacher, temperature));

export const sinkhornEntropy =
  (iterations: number) =>
  (teacher: Values, temperature: Values): Values =>
    meanEntropy(sinkhorn(iterations)(teacher, temperature));

/** Mean of -log(distance + 1e-8) from each row to its nearest neighbour in its group. */
export const koleo =
  (groups: number) =>
  (x: Values): Values => {
    const { rows, cols } = rowsOf(x);
    const group = rows / groups;
    const distance = (a: number, b: number) => {
      let squares = 0;
      for (let c = 0; c < cols; c++) squares += (x.data[a * cols + c]! - x.data[b * cols + c]!) ** 2;
      return Math.sqrt(squares);
    };
    let loss = 0;
    for (let row = 0; row < rows; row++) {
      const first = Math.floor(row / group) * group;
      const others = Array.from({ length: group }, (_, i) => first + i).filter((other) => other !== row);
      loss -= Math.log(Math.min(...others.map((other) => distance(row, other))) + 1e-8) / rows;
    }
    return values([], () => loss);
  };

/** (x - mean) / sqrt(variance + epsilon) * gain + bias with given statistics. */
export const batchNormRunning =
  (epsilon: number) =>
  (x: Values, gain: Values, bias: Values, fixedMean: Values, variance: Values): Values => {
    const { cols } = rowsOf(x);
    return values(x.shape, (i) => {
      const c = i % cols;
      return (
        ((x.data[i]! - fixedMean.data[c]!) / Math.sqrt(variance.data[c]! + epsilon)) * gain.data[c]! + bias.data[c]!
      );
    });
  };

/** Mean and biased variance of every column. */
export const columnStatistics = (x: Values): { readonly mean: Values; readonly variance: Values } => {
  const { rows, cols } = rowsOf(x);
  const average = (valueAt: (i: number) => number) => {
    const y = values([cols], () => 0);
    for (let i = 0; i < x.data.length; i++) y.data[i % cols]! += valueAt(i) / rows;
    return y;
  };
  const center = average((i) => x.data[i]!);
  return { mean: center, variance: average((i) => (x.data[i]! - center.data[i % cols]!) ** 2) };
};

export const batchNorm =
  (epsilon: number) =>
  (x: Values, gain: Values, bias: Values): Values => {
    const { mean: center, variance } = columnStatistics(x);
    return batchNormRunning(epsilon)(x, gain, bias, center, variance);
  };
