// y[r] = the largest x[r, c] of row r.
//
//   x  [rows, COLS] f32
//   y  [rows] f32
//
// One thread a row: rows are short and many.
// include element

override COLS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = elementOf(group, grid, lane);
  if (r >= arrayLength(&y)) { return; }
  var most = x[r * COLS];
  for (var c = 1u; c < COLS; c++) { most = max(most, x[r * COLS + c]); }
  y[r] = most;
}
