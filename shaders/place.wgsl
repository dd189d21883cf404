// out[o, START + j, i] = x[o, j, i]; the rest of out stays.
//
//   x    [outer, LENGTH, INNER] f32
//   out  [outer, AXIS, INNER]   f32
//
// One thread an element of x.
// include element

override AXIS: u32;
override LENGTH: u32;
override INNER: u32;
override START: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&x)) { return; }
  let inside = i % (LENGTH * INNER);
  let outer = i / (LENGTH * INNER);
  out[(outer * AXIS + START) * INNER + inside] = x[i];
}
