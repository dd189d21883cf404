// One part of dQkv, p recomputed from lse (Dao et al. 2022, alg. 4). For a query and a key
// p = exp(SCALE q·k - lse), SCALE = 1 / sqrt(HEAD_DIM), and ds = SCALE p * (dOut·v - delta):
//
//   PART 0, queries  dq = sum over keys of ds k
//   PART 1, keys     dk = sum over queries of ds q
//   PART 2, values   dv = sum over queries of p dOut
//
//   qkv, dQkv  [batch, TOKENS, 3, HEADS, HEAD_DIM] f16, HEAD_DIM 64 at most; of dQkv the part is written
//   sizes      [3] u32: TOKENS, HEADS, HEAD_DIM
//   dOut       [batch, TOKENS, HEADS, HEAD_DIM] f16
//   lse        [batch, HEADS, TOKENS] f32
//   delta      [batch, HEADS, TOKENS] f32: dOut·out
//
// One workgroup of 64 threads for 64 queries (part 0) or keys of a head.
// include attention-tile-backward

enable f16;

override PART: u32;

@group(0) @binding(0) var<storage, read> qkv: array<f16>;
@group(0) @binding(1) var<storage, read> sizes: array<u32>;
@group(0) @binding(2) var<storage, read> dOut: array<f16>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> dQkv: array<f16>;

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_id) thread: vec3u) {
  differentiate(group.y * grid.x + group.x, thread);
}

fn qkvAt(i: u32) -> f32 { return f32(qkv[i]); }
fn dOutAt(i: u32) -> f32 { return f32(dOut[i]); }
fn store(i: u32, value: f32) { dQkv[i] = f16(value); }
