// out = softmax(q kᵀ / sqrt(HEAD_DIM)) v for every head on tensor cores (Dao 2023, FlashAttention-2, algorithm 1).
//
//   qkv    [batch, TOKENS, 3, HEADS, HEAD_DIM] f16: queries, keys and values of every token; HEAD_DIM a multiple of four, 64 at most
//   sizes  [3] u32: TOKENS, HEADS, HEAD_DIM
//   out    [batch, TOKENS, HEADS, HEAD_DIM] f16
//   lse    [batch, HEADS, TOKENS] f32: log-sum-exp of each query's scores, for the backward
//
// One workgroup for ROWS queries of a head, against 32 keys at a time.
//
// Online softmax scales the sums of values whenever a row's maximum grows, but a matrix cannot be scaled by row where it is.
// Sums in shared memory would double what a tile moves there; a first pass for the maxima costs half the products again and
// all exponentials twice; a product with a diagonal matrix rounds the factors to f16. So the maximum that exponentials are taken
// against follows only where one of them would exceed 2^SLACK: the result does not depend on it, and f16 holds weights up to
// 2^16 as precisely. That happens in the first tile, before there are sums, and seldom later; then they go through shared memory.
// include attention-matrices
// include log-sum-exp

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;

override ROWS: u32;          // a multiple of 16, 64 at most
const SLACK = 8.0;
const LEAST = -3.0e38;
const WEIGHT_STRIDE = 20u;   // pairs of f16

@group(0) @binding(0) var<storage, read> qkv: array<vec4h>;
@group(0) @binding(1) var<storage, read> sizes: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4h>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

var<workgroup> weights: array<vec2h, ROWS * WEIGHT_STRIDE>;  // exponentials of a tile
var<workgroup> parts: array<f32, LANES>;
var<workgroup> exceeded: array<atomic<u32>, 4>;  // the first is used; 16 bytes keep the matrices' memory aligned

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
) {
  let blocks = (tokens() + ROWS - 1u) / ROWS;
  let g = group.y * grid.x + group.x;
  let sequence = g / blocks;
  if (sequence >= arrayLength(&lse) / tokens()) { return; }
  let first = g % blocks * ROWS;
  let rows = min(subgroups * UNIT, ROWS);
  for (var start = first; start < min(first + ROWS, tokens()); start += rows) {
    attend(stripOf(sequence, start, rows, subgroup), threadOf(start, rows, lane), lane);
  }
}

fn attend(strip: Strip, thread: Thread, lane: u32) {
  let sequence = strip.sequence;
  if (lane == 0u) { atomicStore(&exceeded[0], 0u); }
  bring(0u, sequence, strip.start, ROWS, 0u, lane);
  workgroupBarrier();
  var q0 = Left();
  var q1 = Left();
  var q2 = Left();
  var q3 = Left();
  if (strip.takesPart) {
    q0 = left(strip.row, 0u);
    q1 = left(strip.row, 1u);
    q2 = left(strip.row, 2u);
    q3 = left(strip.row, 3u);
  }
  workgroupBarrier();
  bring(1u, sequence, 0u, COLS, 0u, lane);
  workgroupBarrier();

  var lower = array<Result, 2>();  // sums of values, of 32 components
  var upper = array<Result, 2>();
  var largest = LEAST;  // what the row's exponentials are taken against, in powers of two
  var total = 0.0;      // of the thread's columns
  for (var keys = 0u; keys < tokens(); keys += COLS) {
    let there = min(COLS, tokens() - keys);
    if (strip.takesPart) {
      for (var k = 0u; k < there; k += UNIT) { lay(strip, against(q0, q1, q2, q3, k), k / 2u); }
    }
    workgroupBarrier();
    bring(2u, sequence, keys, COLS, COLS, lane);
    if (keys + COLS < tokens()) { bring(1u, sequence, keys + COLS, COLS, 0u, lane); }
    var weighed = weigh(thread, there, largest);
    if (thread.exists && weighed.most > largest + SLACK) { atomicStore(&exceeded[0], 1u); }
    if (workgroupUniformLoad(&exceeded[0]) != 0u) {
      if (lane == 0u) { atomicStore(&exceeded[0], 0u); }
      parts[lane] = weighed.most;
      workgroupBarrier();
      let higher = max(largest, max(parts[2u * thread.row], parts[2u * thread.row + 1u]));
      let shrink = exp2(largest - higher);
      largest = higher;
      total *= shrink;
      weighed = weigh(thread, there, largest);
      workgroupBarrier();
      if (keys > 0u) {
        lower = shrunk(strip, thread, lower, shrink);
        upper = shrunk(strip, thread, upper, shrink);
      }
    }
    total += weighed.total;
    if (strip.takesPart) {
      for (var k = 0u; k < there; k += UNIT) {
        let p = subgroupMatrixLoad<Left, row_major>(&weights, strip.row * WEIGHT_STRIDE + k / 2u, WEIGHT_STRIDE);
        lower[0] = plus(lower[0], p, COLS + k, 0u);
        lower[1] = plus(lower[1], p, COLS + k, 1u);
        upper[0] = plus(upper[0], p, COLS + k, 2u);
        upper[1] = plus(upper[1], p, COLS + k, 3u);
      }
    }
  }

  parts[lane] = total;
  workgroupBarrier();
  total = parts[2u * thread.row] + parts[2u * thread.row + 1u];
  let query = strip.start + thread.row;
  let begin = tokenStart(sequence, query);
  finish(strip, thread, lower, 0u, 1.0 / total, begin);
  finish(strip, thread, upper, 2u * UNIT, 1.0 / total, begin);
  if (thread.exists && thread.half == 0u) { lse[sequence * tokens() + query] = logSumExp(largest / LOG2E, total); }
}

struct Weighed {
  total: f32,  // of the exponentials
  most: f32,   // the largest score, in powers of two
}

/** The exponentials of a thread's columns of a tile to `weights`; zeros past the keys that are there. */
fn weigh(thread: Thread, there: u32, largest: f32) -> Weighed {
  let scale = LOG2E * inverseSqrt(f32(headDim()));
  var total = 0.0;
  var most = LEAST;
  for (var j = 0u; j < COLS / 4u; j++) {
    let pair = pairOf(thread, j, COLS / 2u);
    let exists = 2u * pair + vec2u(0u, 1u) < vec2u(there);
    let score = select(vec2f(LEAST), scores[thread.row * SCORE_STRIDE + pair] * scale, exists);
    let weight = select(vec2f(0.0), exp2(score - largest), exists);
    most = max(most, max(score.x, score.y));
    total += weight.x + weight.y;
    weights[thread.row * WEIGHT_STRIDE + pair] = vec2h(weight);
  }
  return Weighed(total, most);
}

/** Two matrices of every strip, their rows times the factors of those. */
fn shrunk(strip: Strip, thread: Thread, x: array<Result, 2>, factor: f32) -> array<Result, 2> {
  layTwo(strip, x);
  workgroupBarrier();
  for (var j = 0u; j < COLS / 4u; j++) { scores[thread.row * SCORE_STRIDE + pairOf(thread, j, COLS / 2u)] *= factor; }
  workgroupBarrier();
  var y = x;
  if (strip.takesPart) {
    let at = strip.row * SCORE_STRIDE;
    y[0] = subgroupMatrixLoad<Result, row_major>(&scores, at, SCORE_STRIDE);
    y[1] = subgroupMatrixLoad<Result, row_major>(&scores, at + UNIT / 2u, SCORE_STRIDE);
  }
  workgroupBarrier();
  return y;
}

/** Four components of a token's query (0), key (1) or value (2). */
fn four(source: u32, sequence: u32, token: u32, quad: u32) -> vec4h { return qkv[partStart(source, sequence, token) / 4u + quad]; }

fn store(i: u32, values: vec4f) { out[i / 4u] = vec4h(values); }
