// slice.wgsl in f16: out[o, j, i] = x[o, START + j, i].
//
//   x    [outer, AXIS, INNER]   f16
//   out  [outer, LENGTH, INNER] f16
//
// One thread an element of out.
// include element

enable f16;

override AXIS: u32;
override LENGTH: u32;
override INNER: u32;
override START: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read_write> out: array<f16>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&out)) { return; }
  let inside = i % (LENGTH * INNER);
  let outer = i / (LENGTH * INNER);
  out[i] = x[(outer * AXIS + START) * INNER + inside];
}
