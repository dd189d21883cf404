// out[r, c] = b[r, c] where mask[r] is not 0, else a[r, c]; a and b are repeated along the rows where they have fewer.
//
//   a, b  [rows or 1, COLS] f32
//   mask  [rows] f32
//   out   [rows, COLS] f32
//
// One thread an element.
// include element

override COLS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> mask: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&out)) { return; }
  if (mask[i / COLS] != 0.0) {
    out[i] = b[i % arrayLength(&b)];
  } else {
    out[i] = a[i % arrayLength(&a)];
  }
}
