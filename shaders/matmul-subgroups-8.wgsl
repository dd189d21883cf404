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
// include outer-product

enable subgroups;

override BIAS: bool;

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
  let A_K = sizes[4];
  let B_K = sizes[6];

  // Past the edge a lane reads the last row or column again; what comes of it is not stored.
  let row = group.y * 16u;
  let columns = columnsOf(group.x * 32u, lane);
  let known = min(columns, vec4u(N - 1u));
  var aAt = group.z * sizes[5] + min(row + lane + vec2u(0u, LANES), vec2u(M - 1u)) * sizes[3];
  var bAt = group.z * sizes[8] + known * sizes[7];

  var sums: array<vec4f, 16>;  // of each row
  for (var k = 0u; k < K; k++) {
    addOuter(&sums, vec2f(a[aAt.x], a[aAt.y]), vec4f(b[bAt.x], b[bAt.y], b[bAt.z], b[bAt.w]));
    aAt += A_K;
    bAt += B_K;
  }

  let cStart = group.z * M * N;
  var start = vec4f(0.0);
  if (BIAS) { start = vec4f(bias[known.x], bias[known.y], bias[known.z], bias[known.w]); }
  for (var i = 0u; i < 16u; i++) {
    if (row + i < M) {
      let at = cStart + (row + i) * N + columns;
      let y = start + sums[i];
      if (columns.x < N) { c[at.x] = y.x; }
      if (columns.y < N) { c[at.y] = y.y; }
      if (columns.z < N) { c[at.z] = y.z; }
      if (columns.w < N) { c[at.w] = y.w; }
    }
  }
}
