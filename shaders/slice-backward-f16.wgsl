// dx[o, START + j, i] = dy[o, j, i], and 0 outside the slice.
//
//   dy  [outer, LENGTH, INNER] f16
//   dx  [outer, AXIS, INNER]   f16
//
// One thread an element of dx.
// include element

enable f16;

override AXIS: u32;
override LENGTH: u32;
override INNER: u32;
override START: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> dy: array<f16>;
@group(0) @binding(1) var<storage, read_write> dx: array<f16>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&dx)) { return; }
  let j = i / INNER % AXIS;
  if (j < START || j >= START + LENGTH) {
    dx[i] = 0.0h;
    return;
  }
  let outer = i / (INNER * AXIS);
  dx[i] = dy[(outer * LENGTH + j - START) * INNER + i % INNER];
}
