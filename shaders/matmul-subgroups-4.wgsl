// c = a b + bias, with any strides: matmul.wgsl for adapters on the CPU whose subgroups are 4 lanes wide.
//
//   a     [batch, M, K] f32, element (m, k) at m * A_ROW + k * A_K from the start of its matrix
//   b     [batch, K, N] f32, element (k, n) at k * B_K + n * B_COL
//   bias  [N] f32, read where BIAS
//   sizes [9] u32: M, N, K, A_ROW, A_K, A_BATCH, B_K, B_COL, B_BATCH
//   c     [batch, M, N] f32
//
// There a load costs as much whether its lanes read one address or 4: each lane reads a row of its own and the subgroup
// passes it round. A workgroup is one subgroup and makes 16 rows x 32 columns, a lane eight columns, LANES apart, so that
// 12 loads feed 128 products. Groups: x over columns, y over rows, z over the batch.

enable subgroups;

override BIAS: bool;
const LANES = 4u;

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
  let a1 = aStart + min(row + 4u + lane, M - 1u) * A_ROW;
  let a2 = aStart + min(row + 8u + lane, M - 1u) * A_ROW;
  let a3 = aStart + min(row + 12u + lane, M - 1u) * A_ROW;
  let b0 = bStart + min(col, N - 1u) * B_COL;
  let b1 = bStart + min(col + LANES, N - 1u) * B_COL;
  let b2 = bStart + min(col + 2u * LANES, N - 1u) * B_COL;
  let b3 = bStart + min(col + 3u * LANES, N - 1u) * B_COL;
  let b4 = bStart + min(col + 4u * LANES, N - 1u) * B_COL;
  let b5 = bStart + min(col + 5u * LANES, N - 1u) * B_COL;
  let b6 = bStart + min(col + 6u * LANES, N - 1u) * B_COL;
  let b7 = bStart + min(col + 7u * LANES, N - 1u) * B_COL;

  var s0 = vec4f(0.0); var t0 = vec4f(0.0);  // eight sums of each row, and no array, which drivers keep in memory
  var s1 = vec4f(0.0); var t1 = vec4f(0.0);
  var s2 = vec4f(0.0); var t2 = vec4f(0.0);
  var s3 = vec4f(0.0); var t3 = vec4f(0.0);
  var s4 = vec4f(0.0); var t4 = vec4f(0.0);
  var s5 = vec4f(0.0); var t5 = vec4f(0.0);
  var s6 = vec4f(0.0); var t6 = vec4f(0.0);
  var s7 = vec4f(0.0); var t7 = vec4f(0.0);
  var s8 = vec4f(0.0); var t8 = vec4f(0.0);
  var s9 = vec4f(0.0); var t9 = vec4f(0.0);
  var s10 = vec4f(0.0); var t10 = vec4f(0.0);
  var s11 = vec4f(0.0); var t11 = vec4f(0.0);
  var s12 = vec4f(0.0); var t12 = vec4f(0.0);
  var s13 = vec4f(0.0); var t13 = vec4f(0.0);
  var s14 = vec4f(0.0); var t14 = vec4f(0.0);
  var s15 = vec4f(0.0); var t15 = vec4f(0.0);
  for (var k = 0u; k < K; k++) {
    let ka = k * A_K;
    let r0 = a[a0 + ka];
    let r1 = a[a1 + ka];
    let r2 = a[a2 + ka];
    let r3 = a[a3 + ka];
    let kb = k * B_K;
    let y0 = vec4f(b[b0 + kb], b[b1 + kb], b[b2 + kb], b[b3 + kb]);
    let y1 = vec4f(b[b4 + kb], b[b5 + kb], b[b6 + kb], b[b7 + kb]);
    let x0 = vec4f(subgroupBroadcast(r0, 0u)); s0 = fma(x0, y0, s0); t0 = fma(x0, y1, t0);
    let x1 = vec4f(subgroupBroadcast(r0, 1u)); s1 = fma(x1, y0, s1); t1 = fma(x1, y1, t1);
    let x2 = vec4f(subgroupBroadcast(r0, 2u)); s2 = fma(x2, y0, s2); t2 = fma(x2, y1, t2);
    let x3 = vec4f(subgroupBroadcast(r0, 3u)); s3 = fma(x3, y0, s3); t3 = fma(x3, y1, t3);
    let x4 = vec4f(subgroupBroadcast(r1, 0u)); s4 = fma(x4, y0, s4); t4 = fma(x4, y1, t4);
    let x5 = vec4f(subgroupBroadcast(r1, 1u)); s5 = fma(x5, y0, s5); t5 = fma(x5, y1, t5);
    let x6 = vec4f(subgroupBroadcast(r1, 2u)); s6 = fma(x6, y0, s6); t6 = fma(x6, y1, t6);
    let x7 = vec4f(subgroupBroadcast(r1, 3u)); s7 = fma(x7, y0, s7); t7 = fma(x7, y1, t7);
    let x8 = vec4f(subgroupBroadcast(r2, 0u)); s8 = fma(x8, y0, s8); t8 = fma(x8, y1, t8);
    let x9 = vec4f(subgroupBroadcast(r2, 1u)); s9 = fma(x9, y0, s9); t9 = fma(x9, y1, t9);
    let x10 = vec4f(subgroupBroadcast(r2, 2u)); s10 = fma(x10, y0, s10); t10 = fma(x10, y1, t10);
    let x11 = vec4f(subgroupBroadcast(r2, 3u)); s11 = fma(x11, y0, s11); t11 = fma(x11, y1, t11);
    let x12 = vec4f(subgroupBroadcast(r3, 0u)); s12 = fma(x12, y0, s12); t12 = fma(x12, y1, t12);
    let x13 = vec4f(subgroupBroadcast(r3, 1u)); s13 = fma(x13, y0, s13); t13 = fma(x13, y1, t13);
    let x14 = vec4f(subgroupBroadcast(r3, 2u)); s14 = fma(x14, y0, s14); t14 = fma(x14, y1, t14);
    let x15 = vec4f(subgroupBroadcast(r3, 3u)); s15 = fma(x15, y0, s15); t15 = fma(x15, y1, t15);
  }

  let cStart = group.z * M * N;
  var start = vec4f(0.0);
  if (BIAS) {
    start = vec4f(bias[min(col, N - 1u)], bias[min(col + LANES, N - 1u)], bias[min(col + 2u * LANES, N - 1u)], bias[min(col + 3u * LANES, N - 1u)]);
  }
  let right = col + 4u * LANES;
  var startRight = vec4f(0.0);
  if (BIAS) {
    startRight = vec4f(bias[min(right, N - 1u)], bias[min(right + LANES, N - 1u)], bias[min(right + 2u * LANES, N - 1u)], bias[min(right + 3u * LANES, N - 1u)]);
  }
  put(cStart, row, col, start + s0);
  put(cStart, row, right, startRight + t0);
  put(cStart, row + 1u, col, start + s1);
  put(cStart, row + 1u, right, startRight + t1);
  put(cStart, row + 2u, col, start + s2);
  put(cStart, row + 2u, right, startRight + t2);
  put(cStart, row + 3u, col, start + s3);
  put(cStart, row + 3u, right, startRight + t3);
  put(cStart, row + 4u, col, start + s4);
  put(cStart, row + 4u, right, startRight + t4);
  put(cStart, row + 5u, col, start + s5);
  put(cStart, row + 5u, right, startRight + t5);
  put(cStart, row + 6u, col, start + s6);
  put(cStart, row + 6u, right, startRight + t6);
  put(cStart, row + 7u, col, start + s7);
  put(cStart, row + 7u, right, startRight + t7);
  put(cStart, row + 8u, col, start + s8);
  put(cStart, row + 8u, right, startRight + t8);
  put(cStart, row + 9u, col, start + s9);
  put(cStart, row + 9u, right, startRight + t9);
  put(cStart, row + 10u, col, start + s10);
  put(cStart, row + 10u, right, startRight + t10);
  put(cStart, row + 11u, col, start + s11);
  put(cStart, row + 11u, right, startRight + t11);
  put(cStart, row + 12u, col, start + s12);
  put(cStart, row + 12u, right, startRight + t12);
  put(cStart, row + 13u, col, start + s13);
  put(cStart, row + 13u, right, startRight + t13);
  put(cStart, row + 14u, col, start + s14);
  put(cStart, row + 14u, right, startRight + t14);
  put(cStart, row + 15u, col, start + s15);
  put(cStart, row + 15u, right, startRight + t15);
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
