// out[order[j]] = FACTOR * part[j], for j >= COUNT 0, and, if ADDS is 1, base[order[j]] as well: puts samples back into a batch.
//
//   base, out  [batch, SIZE] f32
//   part       [COUNT, SIZE] f32
//   order      [batch] u32, a permutation
//
// One thread an element of out.
// include element

override SIZE: u32;
override COUNT: u32;
override FACTOR: f32;
override ADDS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> base: array<f32>;
@group(0) @binding(1) var<storage, read> part: array<f32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&out)) { return; }
  let size = SIZE;
  let at = order[i / size] * size + i % size;
  var sum = 0.0;
  if (i / size < COUNT) { sum = FACTOR * part[i]; }
  if (ADDS == 1u) { sum += base[at]; }
  out[at] = sum;
}
