// Rotary position embedding (Su et al. 2021, RoFormer, section 3.4.2): in the queries and keys of the last PATCHES tokens,
//
//   y[j]        = x[j] * cosines[p, j] - SIGN * x[j + half] * sines[p, j]
//   y[j + half] = x[j + half] * cosines[p, j] + SIGN * x[j] * sines[p, j]     for j < half = HEAD_DIM / 2 of patch p;
//
// everything else is copied. SIGN is 1; -1 turns back, which is the backward.
//
//   x, y            [batch, TOKENS, 3, HEADS, HEAD_DIM / 4] vec4 of f32
//   cosines, sines  [PATCHES, HEAD_DIM / 8] vec4 of f32
//
// One thread for four pairs of a head.
// include element
// include rotation

override TOKENS: u32;
override PATCHES: u32;
override HEADS: u32;
override HEAD_DIM: u32;
override SIGN: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> cosines: array<vec4f>;
@group(0) @binding(2) var<storage, read> sines: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  rotatePair(elementOf(group, grid, lane), HEAD_DIM / 8u);  // in fours
}

fn xAt(i: u32) -> vec4f { return x[i]; }
fn store(i: u32, value: vec4f) { y[i] = value; }
