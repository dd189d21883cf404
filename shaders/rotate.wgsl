// Rotary position embedding (Su et al. 2021, RoFormer, section 3.4.2): in the queries and keys of the last PATCHES tokens,
//
//   y[j]        = x[j] * cosines[p, j] - SIGN * x[j + half] * sines[p, j]
//   y[j + half] = x[j + half] * cosines[p, j] + SIGN * x[j] * sines[p, j]     for j < half = HEAD_DIM / 2 of patch p;
//
// everything else is copied. SIGN is 1; -1 turns back, which is the backward.
//
//   x, y            [batch, TOKENS, 3, HEADS, HEAD_DIM] f32
//   cosines, sines  [PATCHES, HEAD_DIM / 2] f32
//
// One thread for a pair of a head.
// include element
// include rotation

override TOKENS: u32;
override PATCHES: u32;
override HEADS: u32;
override HEAD_DIM: u32;
override SIGN: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> cosines: array<f32>;
@group(0) @binding(2) var<storage, read> sines: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  rotatePair(elementOf(group, grid, lane), HEAD_DIM / 2u);
}

fn xAt(i: u32) -> f32 { return x[i]; }
fn store(i: u32, value: f32) { y[i] = value; }
