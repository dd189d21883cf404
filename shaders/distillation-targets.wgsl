// q = softmax((x - center) / temperature) over the last axis, and the entropy -sum(q * log q) of every row:
// the sharpened, centered teacher of DINO (Caron et al. 2021, algorithm 1).
//
//   x, q         [ROWS, COLS] f32
//   center       [COLS] f32
//   temperature  [] f32
//   entropies    [ROWS] f32
//
// One workgroup per row; its LANES threads stride over the columns.
// include reduce

override ROWS: u32;
override COLS: u32;
override LANES: u32;  // chosen by the engine for the adapter
const LEAST = -87.0;  // exp of less is no normal f32

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> center: array<f32>;
@group(0) @binding(2) var<storage, read> temperature: array<f32>;
@group(0) @binding(3) var<storage, read_write> q: array<f32>;
@group(0) @binding(4) var<storage, read_write> entropies: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let row = r * COLS;

  var largest = x[row] - center[0];
  for (var c = lane; c < COLS; c += LANES) { largest = max(largest, x[row + c] - center[c]); }
  largest = workgroupMax(largest, lane);

  var total = 0.0;
  var below = 0.0;  // sum of exp(-d) * d: entropy = log total + below / total, both terms positive
  for (var c = lane; c < COLS; c += LANES) {
    let d = (x[row + c] - center[c] - largest) / temperature[0];
    let e = exp(max(d, LEAST));
    q[row + c] = e;
    total += e;
    below -= e * d;
  }
  total = workgroupSum(total, lane);
  below = workgroupSum(below, lane);

  for (var c = lane; c < COLS; c += LANES) { q[row + c] /= total; }
  if (lane == 0u) { entropies[r] = log(total) + below / total; }
}
