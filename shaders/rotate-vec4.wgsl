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
  let half = HEAD_DIM / 8u;  // in fours
  let i = elementOf(group, grid, lane);
  let at = i / half * 2u * half + i % half;  // of the pair's first element; the second lies half a head behind
  if (at >= arrayLength(&y)) { return; }
  let a = x[at];
  let b = x[at + half];
  let head = i / half % (3u * HEADS);
  let token = i / (half * 3u * HEADS) % TOKENS;
  if (head >= 2u * HEADS || token < TOKENS - PATCHES) {
    y[at] = a;
    y[at + half] = b;
    return;
  }
  let place = (token + PATCHES - TOKENS) * half + i % half;
  let cosine = cosines[place];
  let sine = SIGN * sines[place];
  y[at] = a * cosine - b * sine;
  y[at + half] = b * cosine + a * sine;
}
