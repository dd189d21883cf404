// y = x - max x - log(sum exp(x - max x)) over the last axis.
//
//   x, y  [ROWS, COLS] f32
//
// One workgroup per row; its LANES threads stride over the columns.
// include reduce

override ROWS: u32;
override COLS: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let row = r * COLS;

  var largest = x[row];
  for (var c = lane; c < COLS; c += LANES) { largest = max(largest, x[row + c]); }
  largest = workgroupMax(largest, lane);

  var total = 0.0;
  for (var c = lane; c < COLS; c += LANES) { total += exp(x[row + c] - largest); }
  total = workgroupSum(total, lane);

  for (var c = lane; c < COLS; c += LANES) { y[row + c] = x[row + c] - largest - log(total); }
}
