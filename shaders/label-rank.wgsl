// ranks = how many classes come before the right one, over the last axis: those of a larger x, and of equal ones the earlier.
//
//   x       [ROWS, COLS] f32
//   labels  [ROWS / EACH] u32: the right class, below COLS, of EACH rows after another
//   ranks   [ROWS] f32: 0 where the right class is the first
//
// One workgroup per row; its LANES threads stride over the columns.
// include reduce

override ROWS: u32;
override COLS: u32;
override EACH: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read_write> ranks: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let row = r * COLS;
  let label = labels[r / EACH];
  let right = x[row + label];

  var before = 0.0;
  for (var c = lane; c < COLS; c += LANES) {
    let isBefore = x[row + c] > right || (x[row + c] == right && c < label);
    before += select(0.0, 1.0, isBefore);
  }
  before = workgroupSum(before, lane);
  if (lane == 0u) { ranks[r] = before; }
}
