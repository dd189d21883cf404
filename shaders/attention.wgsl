// out = softmax(q kᵀ * SCALE) v for every head, in one pass over the keys (Rabe & Staats 2021; Dao et al. 2022, alg. 1).
//
//   qkv  [batch, TOKENS, 3, HEADS, HEAD_DIM] f32: queries, keys and values of every token
//   out  [batch, TOKENS, HEADS, HEAD_DIM] f32
//   lse  [batch, HEADS, TOKENS] f32: log-sum-exp of each query's scores, for the backward
//
// A workgroup takes 3 * LANES queries of one head, a thread three of them, the components of its vectors, against six keys
// at a time. The running maximum keeps exp in range; the running sum lies in `out`, for private arrays take drivers minutes
// to compile.
// include log-sum-exp

override TOKENS: u32;
override HEADS: u32;
override HEAD_DIM: u32;
override SCALE: f32;
const LANES = 8u;
const LEAST = -3.0e38;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let blocks = (TOKENS + 3u * LANES - 1u) / (3u * LANES);
  let g = group.y * grid.x + group.x;
  let sequence = g / blocks;  // over batch and heads
  let token = (g % blocks) * 3u * LANES + lane + vec3u(0u, LANES, 2u * LANES);
  let stride = 3u * HEADS * HEAD_DIM;  // from token to token
  let start = sequence / HEADS * TOKENS * stride + sequence % HEADS * HEAD_DIM;
  if (start >= arrayLength(&qkv)) { return; }

  // Not constants for the compiler, or drivers unroll these loops and compile for seconds.
  let tokens = min(TOKENS, arrayLength(&qkv));
  let headDim = min(HEAD_DIM, arrayLength(&qkv));
  let last = tokens - 1u;  // beyond it a thread computes the last query again and does not store it
  let query = start + min(token, vec3u(last)) * stride;
  let result = ((sequence / HEADS * TOKENS + token) * HEADS + sequence % HEADS) * HEAD_DIM;
  var largest = vec3f(LEAST);
  var total = vec3f(0.0);
  for (var j = 0u; j < tokens; j += 6u) {
    let keys = start + HEADS * HEAD_DIM;
    let k0 = keys + j * stride;
    let k1 = keys + min(j + 1u, last) * stride;
    let k2 = keys + min(j + 2u, last) * stride;
    let k3 = keys + min(j + 3u, last) * stride;
    let k4 = keys + min(j + 4u, last) * stride;
    let k5 = keys + min(j + 5u, last) * stride;
    var s0 = vec3f(0.0);
    var s1 = vec3f(0.0);
    var s2 = vec3f(0.0);
    var s3 = vec3f(0.0);
    var s4 = vec3f(0.0);
    var s5 = vec3f(0.0);
    for (var d = 0u; d < headDim; d++) {
      let q = vec3f(qkv[query.x + d], qkv[query.y + d], qkv[query.z + d]) * SCALE;
      s0 += q * qkv[k0 + d];
      s1 += q * qkv[k1 + d];
      s2 += q * qkv[k2 + d];
      s3 += q * qkv[k3 + d];
      s4 += q * qkv[k4 + d];
      s5 += q * qkv[k5 + d];
    }
    if (j + 1u > last) { s1 = vec3f(LEAST); }
    if (j + 2u > last) { s2 = vec3f(LEAST); }
    if (j + 3u > last) { s3 = vec3f(LEAST); }
    if (j + 4u > last) { s4 = vec3f(LEAST); }
    if (j + 5u > last) { s5 = vec3f(LEAST); }
    let newLargest = max(max(largest, max(s0, s1)), max(max(s2, s3), max(s4, s5)));
    let shrink = exp(largest - newLargest);
    let p0 = exp(s0 - newLargest);
    let p1 = exp(s1 - newLargest);
    let p2 = exp(s2 - newLargest);
    let p3 = exp(s3 - newLargest);
    let p4 = exp(s4 - newLargest);
    let p5 = exp(s5 - newLargest);
    total = total * shrink + (p0 + p1 + p2 + p3 + p4 + p5);
    largest = newLargest;
    let scale = select(vec3f(1.0), 1.0 / total, j + 6u > last);
    let values = HEADS * HEAD_DIM;  // from a key to its value
    for (var d = values; d < values + headDim; d++) {
      let at = result + (d - values);
      var sum = vec3f(0.0);
      if (j > 0u) { sum = vec3f(out[at.x], out[at.y], out[at.z]) * shrink; }
      sum += p0 * qkv[k0 + d];
      sum += p1 * qkv[k1 + d];
      sum += p2 * qkv[k2 + d];
      sum += p3 * qkv[k3 + d];
      sum += p4 * qkv[k4 + d];
      sum += p5 * qkv[k5 + d];
      sum *= scale;
      if (token.x <= last) { out[at.x] = sum.x; }
      if (token.y <= last) { out[at.y] = sum.y; }
      if (token.z <= last) { out[at.z] = sum.z; }
    }
  }
  let row = sequence * TOKENS + token;
  if (token.x <= last) { lse[row.x] = logSumExp(largest.x, total.x); }
  if (token.y <= last) { lse[row.y] = logSumExp(largest.y, total.y); }
  if (token.z <= last) { lse[row.z] = logSumExp(largest.z, total.z); }
}
