// out[g] = the sum of the g-th 4096 elements of x.
//
//   x    [n] f32
//   out  [ceil(n / 4096)] f32
//
// One workgroup an element of out; its threads stride over their share, then add up in a tree.
// include reduce

override LANES: u32;  // chosen by the engine for the adapter
const ELEMENTS_PER_GROUP = 4096u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let g = group.y * grid.x + group.x;
  if (g >= arrayLength(&out)) { return; }
  let end = min((g + 1u) * ELEMENTS_PER_GROUP, arrayLength(&x));
  var total = 0.0;
  for (var i = g * ELEMENTS_PER_GROUP + lane; i < end; i += LANES) { total += x[i]; }
  total = workgroupSum(total, lane);
  if (lane == 0u) { out[g] = total; }
}
