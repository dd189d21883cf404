// average = KEEP * average + ADD * x.
//
//   average, x  [...] f32
//
// One thread an element.
// include element

override KEEP: f32;
override ADD: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> average: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&average)) { return; }
  average[i] = KEEP * average[i] + ADD * x[i];
}
