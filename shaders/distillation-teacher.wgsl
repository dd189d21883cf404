// Contribution of a chunk of the teacher's columns to the normaliser and the entropy of each row of
// softmax((x - center) / temperature), so that no row is needed whole (Milakov & Gimelshein 2018, section 3.1).
//
//   x            [ROWS, COLS] f32: the chunk
//   center       [COLS] f32
//   temperature  [] f32
//   part         [ROWS, 3] f32: the largest x - center; with d = (largest - (x - center)) / temperature >= 0 the sums of
//                exp(-d) and of exp(-d) * d, which only grow
//
// One workgroup per row; its LANES threads stride over the columns.
// include reduce

override ROWS: u32;
override COLS: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> center: array<f32>;
@group(0) @binding(2) var<storage, read> temperature: array<f32>;
@group(0) @binding(3) var<storage, read_write> part: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let row = r * COLS;

  var largest = x[row] - center[0];
  for (var c = lane; c < COLS; c += LANES) { largest = max(largest, x[row + c] - center[c]); }
  largest = workgroupMax(largest, lane);

  var total = 0.0;
  var below = 0.0;
  for (var c = lane; c < COLS; c += LANES) {
    let d = (largest - (x[row + c] - center[c])) / temperature[0];
    let e = exp(-d);
    total += e;
    below += e * d;
  }
  total = workgroupSum(total, lane);
  below = workgroupSum(below, lane);

  if (lane == 0u) {
    part[3u * r] = largest;
    part[3u * r + 1u] = total;
    part[3u * r + 2u] = below;
  }
}
