// The keys' and values' part of dQkv, p recomputed from lse (Dao et al. 2022, alg. 4): with ds = p * (dOut·v - delta),
// dk = SCALE * sum over queries of ds q, dv = sum over queries of p dOut.
//
//   qkv, dQkv   [batch, TOKENS, 3, HEADS, HEAD_DIM] f32; only the keys and values of dQkv are written
//   dOut        [batch, TOKENS, HEADS, HEAD_DIM] f32
//   lse, delta  [batch, HEADS, TOKENS] f32
//
// One thread a key; a workgroup takes LANES keys of one head.

override TOKENS: u32;
override HEADS: u32;
override HEAD_DIM: u32;
override SCALE: f32;
const LANES = 8u;
const MAX_HEAD_DIM = 128u;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> lse: array<f32>;
@group(0) @binding(2) var<storage, read> dOut: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read_write> dQkv: array<f32>;

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
  let key = start + token * stride + HEADS * HEAD_DIM;
  let value = key + HEADS * HEAD_DIM;
  var k: array<f32, MAX_HEAD_DIM>;
  var v: array<f32, MAX_HEAD_DIM>;
  var dk: array<f32, MAX_HEAD_DIM>;
  var dv: array<f32, MAX_HEAD_DIM>;
  for (var d = 0u; d < headDim; d++) {
    k[d] = qkv[key + d] * SCALE;
    v[d] = qkv[value + d];
    dk[d] = 0.0;
    dv[d] = 0.0;
  }
  for (var i = 0u; i < tokens; i++) {
    let query = start + i * stride;
    let row = ((sequence / HEADS * TOKENS + i) * HEADS + sequence % HEADS) * HEAD_DIM;
    var score = 0.0;
    var dp = 0.0;
    for (var d = 0u; d < headDim; d++) {
      score += k[d] * qkv[query + d];
      dp += v[d] * dOut[row + d];
    }
    let p = exp(score - lse[sequence * TOKENS + i]);
    let ds = p * (dp - delta[sequence * TOKENS + i]) * SCALE;
    for (var d = 0u; d < headDim; d++) {
      dk[d] += ds * qkv[query + d];
      dv[d] += p * dOut[row + d];
    }
  }
  for (var d = 0u; d < headDim; d++) {
    dQkv[key + d] = dk[d];
    dQkv[value + d] = dv[d];
  }
}
