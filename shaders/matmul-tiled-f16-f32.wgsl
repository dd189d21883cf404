// c = a b + bias of operands in f16, with any strides, in f32: the gradients of weights, and parts that are yet to be summed.
//
//   a     [batch, M, K] f16, element (m, k) at m * A_ROW + k * A_K from the start of its matrix
//   b     [batch, K, N] f16, element (k, n) at k * B_K + n * B_COL
//   bias  [N] f32, read where BIAS
//   sizes [11] u32: M, N, K, A_ROW, A_K, A_BATCH, B_K, B_COL, B_BATCH, SPLITS, K_SPLIT
//   c     [batch, SPLITS, M, N] f32: the p-th part sums k from p * K_SPLIT up to the next part; the bias is in the first
//
// One workgroup of SIDE x SIDE threads for a tile of 8 SIDE rows x 8 SIDE columns.
// include matmul-tile

enable f16;

override BIAS: bool;
override SIDE: u32;  // 8 or 16

@group(0) @binding(0) var<storage, read> a: array<f16>;
@group(0) @binding(1) var<storage, read> b: array<f16>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> sizes: array<u32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(SIDE, SIDE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) thread: vec3u) { multiply(group, thread); }

fn aAt(i: u32) -> f32 { return f32(a[i]); }
fn bAt(i: u32) -> f32 { return f32(b[i]); }
fn store(i: u32, value: f32) { c[i] = value; }
