// y[r] = the largest x[r, c] of row r; NaN where the row holds a NaN or an infinity.
//
//   x  [rows, COLS] f32
//   y  [rows] f32
//
// One thread a row: rows are short and many.
// include element
// include finite

override COLS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = elementOf(group, grid, lane);
  if (r >= arrayLength(&y)) { return; }
  var most = x[r * COLS];
  var finite = true;
  for (var c = 0u; c < COLS; c++) {
    let value = x[r * COLS + c];
    most = max(most, value);
    finite = finite && isFinite(value);
  }
  y[r] = orNaN(most, finite);
}
