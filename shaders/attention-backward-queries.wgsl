// The queries' part of dQkv, p recomputed from lse (Dao et al. 2022, alg. 4): with ds = p * (dOut·v - delta),
// delta = dOut·out of the query, dq = SCALE * sum over keys of ds k.
//
//   qkv, dQkv  [batch, TOKENS, 3, HEADS, HEAD_DIM] f32; only the queries of dQkv are written
//   out, dOut  [batch, TOKENS, HEADS, HEAD_DIM] f32
//   lse        [batch, HEADS, TOKENS] f32
//   delta      [batch, HEADS, TOKENS] f32, for the keys' and values' part
//
// One thread a query; a workgroup takes LANES queries of one head.

override TOKENS: u32;
override HEADS: u32;
override HEAD_DIM: u32;
override SCALE: f32;
const LANES = 8u;
const MAX_HEAD_DIM = 128u;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> out: array<f32>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> dOut: array<f32>;
@group(0) @binding(4) var<storage, read_write> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> dQkv: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let blocks = (TOKENS + LANES - 1u) / LANES;
  let g = group.y * grid.x + group.x;
  let sequence = g / blocks;
  let token = (g % blocks) * LANES + lane;
  let stride = 3u * HEADS * HEAD_DIM;
  let start = sequence / HEADS * TOKENS * stride + sequence % HEADS * HEAD_DIM;
  if (start >= arrayLength(&qkv) || token >= TOKENS) { return; }

  // Not constants for the compiler, or drivers unroll these loops over all of MAX_HEAD_DIM and compile for seconds.
  let tokens = min(TOKENS, arrayLength(&qkv));
  let headDim = min(HEAD_DIM, arrayLength(&qkv));
  let query = start + token * stride;
  let row = ((sequence / HEADS * TOKENS + token) * HEADS + sequence % HEADS) * HEAD_DIM;
  var q: array<f32, MAX_HEAD_DIM>;
  var dO: array<f32, MAX_HEAD_DIM>;
  var dq: array<f32, MAX_HEAD_DIM>;
  var dot = 0.0;
  for (var d = 0u; d < headDim; d++) {
    q[d] = qkv[query + d] * SCALE;
    dO[d] = dOut[row + d];
    dq[d] = 0.0;
    dot += dO[d] * out[row + d];
  }
  delta[sequence * TOKENS + token] = dot;
  let logTotal = lse[sequence * TOKENS + token];
  for (var j = 0u; j < tokens; j++) {
    let key = start + j * stride + HEADS * HEAD_DIM;
    let value = key + HEADS * HEAD_DIM;
    var score = 0.0;
    var dp = 0.0;
    for (var d = 0u; d < headDim; d++) {
      score += q[d] * qkv[key + d];
      dp += dO[d] * qkv[value + d];
    }
    let ds = exp(score - logTotal) * (dp - dot) * SCALE;
    for (var d = 0u; d < headDim; d++) { dq[d] += ds * qkv[key + d]; }
  }
  for (var d = 0u; d < headDim; d++) { dQkv[query + d] = dq[d]; }
}
