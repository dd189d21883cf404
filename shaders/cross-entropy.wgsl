// losses = log(sum exp(x)) - x[label]: the cross-entropy of softmax(x) and the class that is right, over the last axis.
//
//   x          [ROWS, COLS] f32
//   labels     [ROWS / EACH] u32: the right class, below COLS, of EACH rows after another
//   losses     [ROWS] f32
//   logTotals  [ROWS] f32: log(sum exp(x)), which the backward needs
//
// One workgroup per row; its LANES threads stride over the columns.
// include reduce

override ROWS: u32;
override COLS: u32;
override EACH: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read_write> losses: array<f32>;
@group(0) @binding(3) var<storage, read_write> logTotals: array<f32>;

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
  if (lane > 0u) { return; }

  losses[r] = largest - x[row + labels[r / EACH]] + log(total);
  logTotals[r] = largest + log(total);
}
