// c = a b + bias on matrices of 8 x 8, in f32.
//
//   a     [batch, M, K] f32, element (m, k) at m * A_ROW + k * A_K from the start of its matrix; A_K is 1 where A_ALONG_K, else
//         A_ROW is, and along it a, and a part of it, is a multiple of four
//   b     [batch, K, N] f32, element (k, n) at k * B_K + n * B_COL, likewise
//   bias  [N] f32, read where BIAS
//   sizes [11] u32: M, N, K, A_ROW, A_K, A_BATCH, B_K, B_COL, B_BATCH, SPLITS, K_SPLIT
//   c     [batch, SPLITS, M, N] f32, N a multiple of four: the p-th part sums k from p * K_SPLIT up to the next part; the
//         bias is in the first
//
// One workgroup of 128 threads, as many subgroups as they make, for a tile of 64 x 64.
// include matmul-matrices-8

enable subgroups;
enable chromium_experimental_subgroup_matrix;

override BIAS: bool;
override A_ALONG_K: bool;
override B_ALONG_K: bool;

@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> sizes: array<u32>;
@group(0) @binding(4) var<storage, read_write> c: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
) {
  multiply(group, lane, subgroup, subgroups);
}

fn aFour(i: u32) -> vec4f { return a[i / 4u]; }
fn bFour(i: u32) -> vec4f { return b[i / 4u]; }
fn store(i: u32, values: vec4f) { c[i / 4u] = values; }
