// out = softmax(q kᵀ / sqrt(HEAD_DIM)) v for every head: attention-tiled.wgsl in half the memory, computed in f32.
//
//   qkv  [batch, TOKENS, 3, HEADS, HEAD_DIM] f16: queries, keys and values of every token; HEAD_DIM 64 at most
//   out  [batch, TOKENS, HEADS, HEAD_DIM] f16
//   sizes [3] u32: TOKENS, HEADS, HEAD_DIM
//   lse  [batch, HEADS, TOKENS] f32: log-sum-exp of each query's scores, for the backward
//
// One workgroup of 64 threads for 64 queries of a head.
// include attention-tile-forward

enable f16;

@group(0) @binding(0) var<storage, read> qkv: array<f16>;
@group(0) @binding(1) var<storage, read> sizes: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f16>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_id) thread: vec3u) {
  attend(group.y * grid.x + group.x, thread);
}

fn qkvAt(i: u32) -> f32 { return f32(qkv[i]); }
fn store(i: u32, value: f32) { out[i] = f16(value); }
