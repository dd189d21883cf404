// The queries' part of dQkv, p recomputed from lse (Dao et al. 2022, alg. 4): with ds = p * (dOut·v - delta),
// delta = dOut·out of the query, dq = SCALE * sum over keys of ds k.
//
//   qkv, dQkv  [batch, TOKENS, 3, HEADS, HEAD_DIM] f32; only the queries of dQkv are written
//   out, dOut  [batch, TOKENS, HEADS, HEAD_DIM] f32
//   lse        [batch, HEADS, TOKENS] f32
//   delta      [batch, HEADS, TOKENS] f32, for the keys' and values' part
//
// A workgroup takes 3 * LANES queries of one head, a thread three of them, against six keys at a time, as attention.wgsl.

override TOKENS: u32;
override HEADS: u32;
override HEAD_DIM: u32;
override SCALE: f32;
const LANES = 8u;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> out: array<f32>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> dOut: array<f32>;
@group(0) @binding(4) var<storage, read_write> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> dQkv: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let blocks = (TOKENS + 3u * LANES - 1u) / (3u * LANES);
  let g = group.y * grid.x + group.x;
  let sequence = g / blocks;
  let token = (g % blocks) * 3u * LANES + lane + vec3u(0u, LANES, 2u * LANES);
  let stride = 3u * HEADS * HEAD_DIM;
  let start = sequence / HEADS * TOKENS * stride + sequence % HEADS * HEAD_DIM;
  if (start >= arrayLength(&qkv)) { return; }

  // Not constants for the compiler, or drivers unroll these loops and compile for seconds.
  let tokens = min(TOKENS, arrayLength(&qkv));
  let headDim = min(HEAD_DIM, arrayLength(&qkv));
  let last = tokens - 1u;  // beyond it a thread computes the last query again and does not store it
  let known = min(token, vec3u(last));
  let query = start + known * stride;
  let row = ((sequence / HEADS * TOKENS + known) * HEADS + sequence % HEADS) * HEAD_DIM;
  let rowOfScores = sequence * TOKENS + known;
  var dot = vec3f(0.0);
  for (var d = 0u; d < headDim; d++) {
    dot += vec3f(dOut[row.x + d], dOut[row.y + d], dOut[row.z + d]) * vec3f(out[row.x + d], out[row.y + d], out[row.z + d]);
  }
  if (token.x <= last) { delta[rowOfScores.x] = dot.x; }
  if (token.y <= last) { delta[rowOfScores.y] = dot.y; }
  if (token.z <= last) { delta[rowOfScores.z] = dot.z; }
  let logTotal = vec3f(lse[rowOfScores.x], lse[rowOfScores.y], lse[rowOfScores.z]);
  let values = HEADS * HEAD_DIM;  // from a key to its value
  for (var j = 0u; j < tokens; j += 6u) {
    let keys = start + HEADS * HEAD_DIM;
    let k0 = keys + j * stride;
    let k1 = keys + min(j + 1u, last) * stride;
    let k2 = keys + min(j + 2u, last) * stride;
    let k3 = keys + min(j + 3u, last) * stride;
    let k4 = keys + min(j + 4u, last) * stride;
    let k5 = keys + min(j + 5u, last) * stride;
    var s0 = vec3f(0.0);  // scores
    var s1 = vec3f(0.0);
    var s2 = vec3f(0.0);
    var s3 = vec3f(0.0);
    var s4 = vec3f(0.0);
    var s5 = vec3f(0.0);
    var t0 = vec3f(0.0);  // dOut·v
    var t1 = vec3f(0.0);
    var t2 = vec3f(0.0);
    var t3 = vec3f(0.0);
    var t4 = vec3f(0.0);
    var t5 = vec3f(0.0);
    for (var d = 0u; d < headDim; d++) {
      let q = vec3f(qkv[query.x + d], qkv[query.y + d], qkv[query.z + d]) * SCALE;
      let dO = vec3f(dOut[row.x + d], dOut[row.y + d], dOut[row.z + d]);
      s0 += q * qkv[k0 + d];
      s1 += q * qkv[k1 + d];
      s2 += q * qkv[k2 + d];
      s3 += q * qkv[k3 + d];
      s4 += q * qkv[k4 + d];
      s5 += q * qkv[k5 + d];
      t0 += dO * qkv[k0 + values + d];
      t1 += dO * qkv[k1 + values + d];
      t2 += dO * qkv[k2 + values + d];
      t3 += dO * qkv[k3 + values + d];
      t4 += dO * qkv[k4 + values + d];
      t5 += dO * qkv[k5 + values + d];
    }
    let ds0 = exp(s0 - logTotal) * (t0 - dot) * SCALE;
    var ds1 = exp(s1 - logTotal) * (t1 - dot) * SCALE;
    var ds2 = exp(s2 - logTotal) * (t2 - dot) * SCALE;
    var ds3 = exp(s3 - logTotal) * (t3 - dot) * SCALE;
    var ds4 = exp(s4 - logTotal) * (t4 - dot) * SCALE;
    var ds5 = exp(s5 - logTotal) * (t5 - dot) * SCALE;
    if (j + 1u > last) { ds1 = vec3f(0.0); }
    if (j + 2u > last) { ds2 = vec3f(0.0); }
    if (j + 3u > last) { ds3 = vec3f(0.0); }
    if (j + 4u > last) { ds4 = vec3f(0.0); }
    if (j + 5u > last) { ds5 = vec3f(0.0); }
    for (var d = 0u; d < headDim; d++) {
      let at = query + d;
      var dq = vec3f(0.0);
      if (j > 0u) { dq = vec3f(dQkv[at.x], dQkv[at.y], dQkv[at.z]); }
      dq += ds0 * qkv[k0 + d];
      dq += ds1 * qkv[k1 + d];
      dq += ds2 * qkv[k2 + d];
      dq += ds3 * qkv[k3 + d];
      dq += ds4 * qkv[k4 + d];
      dq += ds5 * qkv[k5 + d];
      if (token.x <= last) { dQkv[at.x] = dq.x; }
      if (token.y <= last) { dQkv[at.y] = dq.y; }
      if (token.z <= last) { dQkv[at.z] = dq.z; }
    }
  }
}
