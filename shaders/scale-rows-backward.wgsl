// dFactors = sum(dy * x) over the last axis.
//
//   x, dy     [ROWS, COLS] f32
//   dFactors  [ROWS] f32
//
// One workgroup per row; its LANES threads stride over the columns.
// include reduce

override ROWS: u32;
override COLS: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dFactors: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let row = r * COLS;

  var dot = 0.0;
  for (var c = lane; c < COLS; c += LANES) { dot += dy[row + c] * x[row + c]; }
  dot = workgroupSum(dot, lane);
  if (lane == 0u) { dFactors[r] = dot; }
}
