// c = a b + bias, with any strides, so that transposed operands cost nothing.
//
//   a     [batch, M, K] f32, element (m, k) at m * A_ROW + k * A_K from the start of its matrix
//   b     [batch, K, N] f32, element (k, n) at k * B_K + n * B_COL
//   bias  [N] f32, read where BIAS
//   sizes [9] u32: M, N, K, A_ROW, A_K, A_BATCH, B_K, B_COL, B_BATCH. Not constants: a network has dozens of shapes, and
//         each would be compiled apart
//   c     [batch, M, N] f32
//
// For adapters that run on the CPU: a workgroup of 8 lanes makes 8 rows x 64 columns without shared memory. A lane holds
// 8 rows x 8 columns, its columns LANES apart; what it reads of a is the same for all lanes, so 16 loads feed 64
// products. Groups: x over columns, y over rows, z over the batch.

override BIAS: bool;
const LANES = 8u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> sizes: array<u32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let M = sizes[0];
  let N = sizes[1];
  let K = sizes[2];
  let A_ROW = sizes[3];
  let A_K = sizes[4];
  let A_BATCH = sizes[5];
  let B_K = sizes[6];
  let B_COL = sizes[7];
  let B_BATCH = sizes[8];

  let row = group.y * 8u;
  let col = group.x * 8u * LANES + lane;

  // Past the edge a lane computes the last row or column again and does not store it.
  let aStart = group.z * A_BATCH;
  let a0 = aStart + min(row, M - 1u) * A_ROW;
  let a1 = aStart + min(row + 1u, M - 1u) * A_ROW;
  let a2 = aStart + min(row + 2u, M - 1u) * A_ROW;
  let a3 = aStart + min(row + 3u, M - 1u) * A_ROW;
  let a4 = aStart + min(row + 4u, M - 1u) * A_ROW;
  let a5 = aStart + min(row + 5u, M - 1u) * A_ROW;
  let a6 = aStart + min(row + 6u, M - 1u) * A_ROW;
  let a7 = aStart + min(row + 7u, M - 1u) * A_ROW;
  let bStart = group.z * B_BATCH;
  let b0 = bStart + min(col, N - 1u) * B_COL;
  let b1 = bStart + min(col + LANES, N - 1u) * B_COL;
  let b2 = bStart + min(col + 2u * LANES, N - 1u) * B_COL;
  let b3 = bStart + min(col + 3u * LANES, N - 1u) * B_COL;
  let b4 = bStart + min(col + 4u * LANES, N - 1u) * B_COL;
  let b5 = bStart + min(col + 5u * LANES, N - 1u) * B_COL;
  let b6 = bStart + min(col + 6u * LANES, N - 1u) * B_COL;
  let b7 = bStart + min(col + 7u * LANES, N - 1u) * B_COL;

  var left: array<vec4f, 8>;   // columns 0..3 of each row
  var right: array<vec4f, 8>;  // columns 4..7
  for (var k = 0u; k < K; k++) {
    let kb = k * B_K;
    let bLeft = vec4f(b[b0 + kb], b[b1 + kb], b[b2 + kb], b[b3 + kb]);
    let bRight = vec4f(b[b4 + kb], b[b5 + kb], b[b6 + kb], b[b7 + kb]);
    let ka = k * A_K;
    let r0 = a[a0 + ka]; left[0] += r0 * bLeft; right[0] += r0 * bRight;
    let r1 = a[a1 + ka]; left[1] += r1 * bLeft; right[1] += r1 * bRight;
    let r2 = a[a2 + ka]; left[2] += r2 * bLeft; right[2] += r2 * bRight;
    let r3 = a[a3 + ka]; left[3] += r3 * bLeft; right[3] += r3 * bRight;
    let r4 = a[a4 + ka]; left[4] += r4 * bLeft; right[4] += r4 * bRight;
    let r5 = a[a5 + ka]; left[5] += r5 * bLeft; right[5] += r5 * bRight;
    let r6 = a[a6 + ka]; left[6] += r6 * bLeft; right[6] += r6 * bRight;
    let r7 = a[a7 + ka]; left[7] += r7 * bLeft; right[7] += r7 * bRight;
  }

  let cStart = group.z * M * N;
  for (var j = 0u; j < 8u; j++) {
    let n = col + j * LANES;
    if (n >= N) { break; }
    var start = 0.0;
    if (BIAS) { start = bias[n]; }
    for (var i = 0u; i < 8u; i++) {
      if (row + i >= M) { break; }
      var sum = start;
      if (j < 4u) { sum += left[i][j]; } else { sum += right[i][j - 4u]; }
      c[cStart + (row + i) * N + n] = sum;
    }
  }
}
