// out[order[j]] = FACTOR * part[j], for j >= COUNT 0, and, if ADDS is 1, base[order[j]] as well: puts samples back into a batch.
//
//   base, out  [batch, SIZE / 4] vec4 of f32
//   part       [COUNT, SIZE / 4] vec4 of f32
//   order      [batch] u32, a permutation
//
// One thread a four of out.
// include element

override SIZE: u32;
override COUNT: u32;
override FACTOR: f32;
override ADDS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> base: array<vec4f>;
@group(0) @binding(1) var<storage, read> part: array<vec4f>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&out)) { return; }
  let size = SIZE / 4u;
  let at = order[i / size] * size + i % size;
  var sum = vec4f(0.0);
  if (i / size < COUNT) { sum = FACTOR * part[i]; }
  if (ADDS == 1u) { sum += base[at]; }
  out[at] = sum;
}
