// The queries' part of dQkv, or the keys' and values', on tensor cores, p recomputed from lse (Dao 2023, FlashAttention-2,
// algorithm 2). For a query and a key p = exp(SCALE q·k - lse), SCALE = 1 / sqrt(HEAD_DIM), and ds = SCALE p * (dOut·v - delta):
//
//   PART 0  dq = sum over keys of ds k
//   PART 1  dk = sum over queries of ds q, and dv = sum over queries of p dOut
//
//   qkv, dQkv  [batch, TOKENS, 3, HEADS, HEAD_DIM] f16, HEAD_DIM a multiple of four, 64 at most; of dQkv the part is written
//   sizes      [3] u32: TOKENS, HEADS, HEAD_DIM
//   dOut       [batch, TOKENS, HEADS, HEAD_DIM] f16
//   lse        [batch, HEADS, TOKENS] f32
//   delta      [batch, HEADS, TOKENS] f32: dOut·out
//
// One workgroup for ROWS queries (part 0) or keys of a head, against 32 of the others at a time: their tokens lie in the first
// half of `tiles`, their dOut (of queries) or values (of keys) in the second; p and ds are made for 16 of them at a time.
// include attention-matrices

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;

override PART: u32;
override ROWS: u32;            // a multiple of 16, 64 at most
const QUERIES = 0u;
const KEYS = 1u;
const VALUES = 2u;
const D_OUT = 3u;
const WEIGHT_STRIDE = 12u;     // pairs of f16

@group(0) @binding(0) var<storage, read> qkv: array<vec4h>;
@group(0) @binding(1) var<storage, read> sizes: array<u32>;
@group(0) @binding(2) var<storage, read> dOut: array<vec4h>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> dQkv: array<vec4h>;

var<workgroup> probabilities: array<vec2h, ROWS * WEIGHT_STRIDE>;
var<workgroup> slopes: array<vec2h, ROWS * WEIGHT_STRIDE>;  // ds
var<workgroup> logs: array<f32, LANES>;    // lse of the queries, which are the rows in part 0, else the columns
var<workgroup> deltas: array<f32, LANES>;

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
    differentiate(stripOf(sequence, start, rows, subgroup), threadOf(start, rows, lane), lane);
  }
}

fn differentiate(strip: Strip, thread: Thread, lane: u32) {
  let sequence = strip.sequence;
  let rowsAreQueries = PART == 0u;
  bring(select(KEYS, QUERIES, rowsAreQueries), sequence, strip.start, ROWS, 0u, lane);
  if (rowsAreQueries) { bringStatistics(sequence, strip.start, lane); }
  workgroupBarrier();
  var a0 = Left();
  var a1 = Left();
  var a2 = Left();
  var a3 = Left();
  if (strip.takesPart) {
    a0 = left(strip.row, 0u);
    a1 = left(strip.row, 1u);
    a2 = left(strip.row, 2u);
    a3 = left(strip.row, 3u);
  }
  workgroupBarrier();
  bring(select(VALUES, D_OUT, rowsAreQueries), sequence, strip.start, ROWS, 0u, lane);
  workgroupBarrier();
  var b0 = Left();
  var b1 = Left();
  var b2 = Left();
  var b3 = Left();
  if (strip.takesPart) {
    b0 = left(strip.row, 0u);
    b1 = left(strip.row, 1u);
    b2 = left(strip.row, 2u);
    b3 = left(strip.row, 3u);
  }

  var lowerA = array<Result, 2>();  // of queries or keys, 32 components
  var upperA = array<Result, 2>();
  var lowerB = array<Result, 2>();  // of values
  var upperB = array<Result, 2>();
  for (var columns = 0u; columns < tokens(); columns += COLS) {
    workgroupBarrier();
    bring(select(QUERIES, KEYS, rowsAreQueries), sequence, columns, COLS, 0u, lane);
    bring(select(D_OUT, VALUES, rowsAreQueries), sequence, columns, COLS, COLS, lane);
    if (!rowsAreQueries) { bringStatistics(sequence, columns, lane); }
    workgroupBarrier();
    let there = min(COLS, tokens() - columns);
    for (var c = 0u; c < there; c += UNIT) {
      if (strip.takesPart) {
        lay(strip, against(a0, a1, a2, a3, c), 0u);
        lay(strip, against(b0, b1, b2, b3, COLS + c), UNIT / 2u);
      }
      workgroupBarrier();
      weigh(thread, c, there);
      workgroupBarrier();
      if (strip.takesPart) {
        let at = strip.row * WEIGHT_STRIDE;
        let ds = subgroupMatrixLoad<Left, row_major>(&slopes, at, WEIGHT_STRIDE);
        lowerA[0] = plus(lowerA[0], ds, c, 0u);
        lowerA[1] = plus(lowerA[1], ds, c, 1u);
        upperA[0] = plus(upperA[0], ds, c, 2u);
        upperA[1] = plus(upperA[1], ds, c, 3u);
        if (!rowsAreQueries) {
          let p = subgroupMatrixLoad<Left, row_major>(&probabilities, at, WEIGHT_STRIDE);
          lowerB[0] = plus(lowerB[0], p, COLS + c, 0u);
          lowerB[1] = plus(lowerB[1], p, COLS + c, 1u);
          upperB[0] = plus(upperB[0], p, COLS + c, 2u);
          upperB[1] = plus(upperB[1], p, COLS + c, 3u);
        }
      }
    }
  }

  let token = strip.start + thread.row;
  let start = partStart(PART, sequence, token);
  finish(strip, thread, lowerA, 0u, 1.0, start);
  finish(strip, thread, upperA, 2u * UNIT, 1.0, start);
  if (!rowsAreQueries) {
    let startOfValues = partStart(VALUES, sequence, token);
    finish(strip, thread, lowerB, 0u, 1.0, startOfValues);
    finish(strip, thread, upperB, 2u * UNIT, 1.0, startOfValues);
  }
}

/** Brings lse, in powers of two, and delta of queries; zeros past the last one. */
fn bringStatistics(sequence: u32, first: u32, lane: u32) {
  let query = first + lane;
  let at = sequence * tokens() + min(query, tokens() - 1u);
  logs[lane] = select(0.0, LOG2E * lse[at], query < tokens());
  deltas[lane] = select(0.0, delta[at], query < tokens());
}

/** p and ds of a thread's columns out of 16 of a tile; zeros past those that are there. */
fn weigh(thread: Thread, first: u32, there: u32) {
  let scale = inverseSqrt(f32(headDim()));
  for (var j = 0u; j < UNIT / 4u; j++) {
    let pair = pairOf(thread, j, UNIT / 2u);
    let column = first + 2u * pair + vec2u(0u, 1u);
    let query = select(column, vec2u(thread.row), PART == 0u);
    let score = LOG2E * scale * scores[thread.row * SCORE_STRIDE + pair];
    let slope = scores[thread.row * SCORE_STRIDE + UNIT / 2u + pair];
    let exponential = exp2(score - vec2f(logs[query.x], logs[query.y]));
    let p = select(vec2f(0.0), exponential, column < vec2u(there));
    let ds = scale * p * (slope - vec2f(deltas[query.x], deltas[query.y]));
    probabilities[thread.row * WEIGHT_STRIDE + pair] = vec2h(p);
    slopes[thread.row * WEIGHT_STRIDE + pair] = vec2h(ds);
  }
}

/** Four components of a token's query (0), key (1), value (2) or dOut (3). */
fn four(source: u32, sequence: u32, token: u32, quad: u32) -> vec4h {
  if (source == D_OUT) { return dOut[tokenStart(sequence, token) / 4u + quad]; }
  return qkv[partStart(source, sequence, token) / 4u + quad];
}

fn store(i: u32, values: vec4f) { dQkv[i / 4u] = vec4h(values); }
