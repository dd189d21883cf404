// The keys' and values' part of dQkv, p recomputed from lse (Dao et al. 2022, alg. 4): with ds = p * (dOut·v - delta),
// dk = SCALE * sum over queries of ds q, dv = sum over queries of p dOut.
//
//   qkv, dQkv   [batch, TOKENS, 3, HEADS, HEAD_DIM] f32; only the keys and values of dQkv are written
//   dOut        [batch, TOKENS, HEADS, HEAD_DIM] f32
//   lse, delta  [batch, HEADS, TOKENS] f32
//
// A workgroup takes 3 * LANES keys of one head, a thread three of them, against six queries at a time, as attention.wgsl.

override TOKENS: u32;
override HEADS: u32;
override HEAD_DIM: u32;
override SCALE: f32;
const LANES = 8u;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> lse: array<f32>;
@group(0) @binding(2) var<storage, read> dOut: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read_write> dQkv: array<f32>;

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
  let last = tokens - 1u;  // beyond it a thread computes the last key again and does not store it
  let key = start + min(token, vec3u(last)) * stride + HEADS * HEAD_DIM;
  let value = key + HEADS * HEAD_DIM;
  let rows = sequence / HEADS * TOKENS * HEADS + sequence % HEADS;  // of dOut, the first of the head
  let rowsOfScores = sequence * TOKENS;
  for (var i = 0u; i < tokens; i += 6u) {
    let i0 = i;
    let i1 = min(i + 1u, last);
    let i2 = min(i + 2u, last);
    let i3 = min(i + 3u, last);
    let i4 = min(i + 4u, last);
    let i5 = min(i + 5u, last);
    let q0 = start + i0 * stride;
    let q1 = start + i1 * stride;
    let q2 = start + i2 * stride;
    let q3 = start + i3 * stride;
    let q4 = start + i4 * stride;
    let q5 = start + i5 * stride;
    let o0 = (rows + i0 * HEADS) * HEAD_DIM;
    let o1 = (rows + i1 * HEADS) * HEAD_DIM;
    let o2 = (rows + i2 * HEADS) * HEAD_DIM;
    let o3 = (rows + i3 * HEADS) * HEAD_DIM;
    let o4 = (rows + i4 * HEADS) * HEAD_DIM;
    let o5 = (rows + i5 * HEADS) * HEAD_DIM;
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
      let k = vec3f(qkv[key.x + d], qkv[key.y + d], qkv[key.z + d]) * SCALE;
      let v = vec3f(qkv[value.x + d], qkv[value.y + d], qkv[value.z + d]);
      s0 += k * qkv[q0 + d];
      s1 += k * qkv[q1 + d];
      s2 += k * qkv[q2 + d];
      s3 += k * qkv[q3 + d];
      s4 += k * qkv[q4 + d];
      s5 += k * qkv[q5 + d];
      t0 += v * dOut[o0 + d];
      t1 += v * dOut[o1 + d];
      t2 += v * dOut[o2 + d];
      t3 += v * dOut[o3 + d];
      t4 += v * dOut[o4 + d];
      t5 += v * dOut[o5 + d];
    }
    let p0 = exp(s0 - lse[rowsOfScores + i0]);
    var p1 = exp(s1 - lse[rowsOfScores + i1]);
    var p2 = exp(s2 - lse[rowsOfScores + i2]);
    var p3 = exp(s3 - lse[rowsOfScores + i3]);
    var p4 = exp(s4 - lse[rowsOfScores + i4]);
    var p5 = exp(s5 - lse[rowsOfScores + i5]);
    if (i + 1u > last) { p1 = vec3f(0.0); }
    if (i + 2u > last) { p2 = vec3f(0.0); }
    if (i + 3u > last) { p3 = vec3f(0.0); }
    if (i + 4u > last) { p4 = vec3f(0.0); }
    if (i + 5u > last) { p5 = vec3f(0.0); }
    let ds0 = p0 * (t0 - delta[rowsOfScores + i0]) * SCALE;
    let ds1 = p1 * (t1 - delta[rowsOfScores + i1]) * SCALE;
    let ds2 = p2 * (t2 - delta[rowsOfScores + i2]) * SCALE;
    let ds3 = p3 * (t3 - delta[rowsOfScores + i3]) * SCALE;
    let ds4 = p4 * (t4 - delta[rowsOfScores + i4]) * SCALE;
    let ds5 = p5 * (t5 - delta[rowsOfScores + i5]) * SCALE;
    for (var d = 0u; d < headDim; d++) {
      let atK = key + d;
      let atV = value + d;
      var dk = vec3f(0.0);
      var dv = vec3f(0.0);
      if (i > 0u) {
        dk = vec3f(dQkv[atK.x], dQkv[atK.y], dQkv[atK.z]);
        dv = vec3f(dQkv[atV.x], dQkv[atV.y], dQkv[atV.z]);
      }
      dk += ds0 * qkv[q0 + d];
      dk += ds1 * qkv[q1 + d];
      dk += ds2 * qkv[q2 + d];
      dk += ds3 * qkv[q3 + d];
      dk += ds4 * qkv[q4 + d];
      dk += ds5 * qkv[q5 + d];
      dv += p0 * dOut[o0 + d];
      dv += p1 * dOut[o1 + d];
      dv += p2 * dOut[o2 + d];
      dv += p3 * dOut[o3 + d];
      dv += p4 * dOut[o4 + d];
      dv += p5 * dOut[o5 + d];
      if (token.x <= last) { dQkv[atK.x] = dk.x; dQkv[atV.x] = dv.x; }
      if (token.y <= last) { dQkv[atK.y] = dk.y; dQkv[atV.y] = dv.y; }
      if (token.z <= last) { dQkv[atK.z] = dk.z; dQkv[atV.z] = dv.z; }
    }
  }
}
