// found becomes 1 where x holds a NaN or an infinity.
//
//   x      [...] f32
//   found  []    u32
//
// One thread an element.
// include element
// include finite

const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> found: array<atomic<u32>>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&x)) { return; }
  if (!isFinite(x[i])) { atomicMax(&found[0], 1u); }
}
