// out = softmax(q kᵀ * SCALE) v for every head, in one pass over the keys (Rabe & Staats 2021; Dao et al. 2022, alg. 1).
//
//   qkv  [batch, TOKENS, 3, HEADS, HEAD_DIM] f32: queries, keys and values of every token
//   out  [batch, TOKENS, HEADS, HEAD_DIM] f32
//   lse  [batch, HEADS, TOKENS] f32: log-sum-exp of each query's scores, for the backward
//
// One thread a query; a workgroup takes LANES queries of one head. The running maximum keeps exp in range.

override TOKENS: u32;
override HEADS: u32;
override HEAD_DIM: u32;
override SCALE: f32;
const LANES = 8u;
const MAX_HEAD_DIM = 128u;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let blocks = (TOKENS + LANES - 1u) / LANES;
  let g = group.y * grid.x + group.x;
  let sequence = g / blocks;  // over batch and heads
  let token = (g % blocks) * LANES + lane;
  let stride = 3u * HEADS * HEAD_DIM;  // from token to token
  let start = sequence / HEADS * TOKENS * stride + sequence % HEADS * HEAD_DIM;
  if (start >= arrayLength(&qkv) || token >= TOKENS) { return; }

  // Not constants for the compiler, or drivers unroll these loops over all of MAX_HEAD_DIM and compile for seconds.
  let tokens = min(TOKENS, arrayLength(&qkv));
  let headDim = min(HEAD_DIM, arrayLength(&qkv));
  var q: array<f32, MAX_HEAD_DIM>;
  var sum: array<f32, MAX_HEAD_DIM>;
  for (var d = 0u; d < headDim; d++) {
    q[d] = qkv[start + token * stride + d] * SCALE;
    sum[d] = 0.0;
  }
  var largest = -3.0e38;
  var total = 0.0;
  for (var j = 0u; j < tokens; j++) {
    let key = start + j * stride + HEADS * HEAD_DIM;
    var score = 0.0;
    for (var d = 0u; d < headDim; d++) { score += q[d] * qkv[key + d]; }
    let newLargest = max(largest, score);
    let shrink = exp(max(largest - newLargest, -100.0));
    let p = exp(score - newLargest);
    total = total * shrink + p;
    let value = key + HEADS * HEAD_DIM;
    for (var d = 0u; d < headDim; d++) { sum[d] = sum[d] * shrink + p * qkv[value + d]; }
    largest = newLargest;
  }
  let result = ((sequence / HEADS * TOKENS + token) * HEADS + sequence % HEADS) * HEAD_DIM;
  for (var d = 0u; d < headDim; d++) { out[result + d] = sum[d] / total; }
  lse[sequence * TOKENS + token] = largest + log(total);
}
