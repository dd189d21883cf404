// found becomes 1 where x holds a NaN or an infinity.
//
//   x      [...] f16
//   found  []    u32
//
// One thread an element; of an ODD number of them one more is bound than there are.
// include element
// include finite

enable f16;

override ODD: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read_write> found: array<atomic<u32>>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&x) - ODD) { return; }
  if (!isFinite(f32(x[i]))) { atomicMax(&found[0], 1u); }
}
