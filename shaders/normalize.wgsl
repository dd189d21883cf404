// y = x / max(|x|, EPSILON) over the last axis, |x| the Euclidean length.
//
//   x, y     [ROWS, COLS] f32
//   lengths  [ROWS] f32: max(|x|, EPSILON), for the backward
//
// One workgroup per row; its LANES threads stride over the columns.
// include reduce
// include finite

override ROWS: u32;
override COLS: u32;
override EPSILON: f32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> lengths: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let row = r * COLS;

  var squares = 0.0;
  for (var c = lane; c < COLS; c += LANES) { squares += x[row + c] * x[row + c]; }
  let total = workgroupSum(squares, lane);
  let len = orNaN(max(sqrt(total), EPSILON), isFinite(total));

  for (var c = lane; c < COLS; c += LANES) { y[row + c] = x[row + c] / len; }
  if (lane == 0u) { lengths[r] = len; }
}
