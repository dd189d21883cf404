// c = a b + bias, with any strides: matmul.wgsl for adapters on the CPU whose subgroups are 8 lanes wide.
//
//   a     [batch, M, K] f32, element (m, k) at m * A_ROW + k * A_K from the start of its matrix
//   b     [batch, K, N] f32, element (k, n) at k * B_K + n * B_COL
//   bias  [N] f32, read where BIAS
//   sizes [9] u32: M, N, K, A_ROW, A_K, A_BATCH, B_K, B_COL, B_BATCH
//   c     [batch, M, N] f32
//
// There a load costs as much whether its lanes read one address or 8: each lane reads a row of its own and the subgroup
// passes it round. A workgroup is one subgroup and makes 16 rows x 32 columns, a lane four columns, LANES apart, so that
// 6 loads feed 64 products. Groups: x over columns, y over rows, z over the batch.

enable subgroups;

override BIAS: bool;
const LANES = 8u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> sizes: array<u32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let M = sizes[0];
  let N = sizes[1];
  let K = sizes[2];
  let A_ROW = sizes[3];
  let A_K = sizes[4];
  let B_K = sizes[6];
  let B_COL = sizes[7];

  // Past the edge a lane reads the last row or column again; what comes of it is not stored.
  let row = group.y * 16u;
  let col = group.x * 32u + lane;
  let aStart = group.z * sizes[5];
  let bStart = group.z * sizes[8];
  let a0 = aStart + min(row + lane, M - 1u) * A_ROW;
  let a1 = aStart + min(row + 8u + lane, M - 1u) * A_ROW;
  let b0 = bStart + min(col, N - 1u) * B_COL;
  let b1 = bStart + min(col + LANES, N - 1u) * B_COL;
  let b2 = bStart + min(col + 2u * LANES, N - 1u) * B_COL;
  let b3 = bStart + min(col + 3u * LANES, N - 1u) * B_COL;

  var s0 = vec4f(0.0);  // four sums of each row, and no array, which drivers keep in memory
  var s1 = vec4f(0.0);
  var s2 = vec4f(0.0);
  var s3 = vec4f(0.0);
  var s4 = vec4f(0.0);
  var s5 = vec4f(0.0);
  var s6 = vec4f(0.0);
  var s7 = vec4f(0.0);
  var s8 = vec4f(0.0);
  var s9 = vec4f(0.0);
  var s10 = vec4f(0.0);
  var s11 = vec4f(0.0);
  var s12 = vec4f(0.0);
  var s13 = vec4f(0.0);
  var s14 = vec4f(0.0);
  var s15 = vec4f(0.0);
  for (var k = 0u; k < K; k++) {
    let ka = k * A_K;
    let r0 = a[a0 + ka];
    let r1 = a[a1 + ka];
    let kb = k * B_K;
    let y = vec4f(b[b0 + kb], b[b1 + kb], b[b2 + kb], b[b3 + kb]);
    s0 = fma(vec4f(subgroupBroadcast(r0, 0u)), y, s0);
    s1 = fma(vec4f(subgroupBroadcast(r0, 1u)), y, s1);
    s2 = fma(vec4f(subgroupBroadcast(r0, 2u)), y, s2);
    s3 = fma(vec4f(subgroupBroadcast(r0, 3u)), y, s3);
    s4 = fma(vec4f(subgroupBroadcast(r0, 4u)), y, s4);
    s5 = fma(vec4f(subgroupBroadcast(r0, 5u)), y, s5);
    s6 = fma(vec4f(subgroupBroadcast(r0, 6u)), y, s6);
    s7 = fma(vec4f(subgroupBroadcast(r0, 7u)), y, s7);
    s8 = fma(vec4f(subgroupBroadcast(r1, 0u)), y, s8);
    s9 = fma(vec4f(subgroupBroadcast(r1, 1u)), y, s9);
    s10 = fma(vec4f(subgroupBroadcast(r1, 2u)), y, s10);
    s11 = fma(vec4f(subgroupBroadcast(r1, 3u)), y, s11);
    s12 = fma(vec4f(subgroupBroadcast(r1, 4u)), y, s12);
    s13 = fma(vec4f(subgroupBroadcast(r1, 5u)), y, s13);
    s14 = fma(vec4f(subgroupBroadcast(r1, 6u)), y, s14);
    s15 = fma(vec4f(subgroupBroadcast(r1, 7u)), y, s15);
  }

  let cStart = group.z * M * N;
  var start = vec4f(0.0);
  if (BIAS) {
    start = vec4f(bias[min(col, N - 1u)], bias[min(col + LANES, N - 1u)], bias[min(col + 2u * LANES, N - 1u)], bias[min(col + 3u * LANES, N - 1u)]);
  }
  put(cStart, row, col, start + s0);
  put(cStart, row + 1u, col, start + s1);
  put(cStart, row + 2u, col, start + s2);
  put(cStart, row + 3u, col, start + s3);
  put(cStart, row + 4u, col, start + s4);
  put(cStart, row + 5u, col, start + s5);
  put(cStart, row + 6u, col, start + s6);
  put(cStart, row + 7u, col, start + s7);
  put(cStart, row + 8u, col, start + s8);
  put(cStart, row + 9u, col, start + s9);
  put(cStart, row + 10u, col, start + s10);
  put(cStart, row + 11u, col, start + s11);
  put(cStart, row + 12u, col, start + s12);
  put(cStart, row + 13u, col, start + s13);
  put(cStart, row + 14u, col, start + s14);
  put(cStart, row + 15u, col, start + s15);
}

/** Stores four columns of a row, LANES apart. */
fn put(start: u32, m: u32, n: u32, y: vec4f) {
  let N = sizes[1];
  if (m >= sizes[0]) { return; }
  let at = start + m * N + n;
  if (n < N) { c[at] = y.x; }
  if (n + LANES < N) { c[at + LANES] = y.y; }
  if (n + 2u * LANES < N) { c[at + 2u * LANES] = y.z; }
  if (n + 3u * LANES < N) { c[at + 3u * LANES] = y.w; }
}
