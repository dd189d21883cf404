// losses = WEIGHT * sum over views v != crop of -sum(targets[v] * logSoftmax(student / TEMPERATURE)), one for each row
// of the student (Caron et al. 2021, eq. 2 and 3). Rows are crop-major: row = crop * BATCH + image.
//
//   student     [ROWS, COLS] f32
//   targets     [VIEWS * BATCH, COLS] f32: every row sums to one
//   losses      [ROWS] f32
//   statistics  [ROWS, 2] f32: max x and sum exp((x - max x) / TEMPERATURE) of x = student, for the backward
//
// One workgroup per row; its LANES threads stride over the columns. The log-softmax is in no memory:
// -log softmax(z) = (max z - z) + log sum exp(z - max z), whose first part is added up with the exponentials.
// include reduce

override ROWS: u32;
override COLS: u32;
override BATCH: u32;
override VIEWS: u32;
override TEMPERATURE: f32;
override WEIGHT: f32;
override LANES: u32;  // chosen by the engine for the adapter
const LEAST = -87.0;  // exp of less is no normal f32

@group(0) @binding(0) var<storage, read> student: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<f32>;
@group(0) @binding(2) var<storage, read_write> losses: array<f32>;
@group(0) @binding(3) var<storage, read_write> statistics: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let row = r * COLS;
  let crop = r / BATCH;
  let image = r % BATCH;

  var largest = student[row];
  for (var c = lane; c < COLS; c += LANES) { largest = max(largest, student[row + c]); }
  largest = workgroupMax(largest, lane);

  var total = 0.0;
  var below = 0.0;
  for (var c = lane; c < COLS; c += LANES) {
    let d = (student[row + c] - largest) / TEMPERATURE;
    total += exp(max(d, LEAST));
    for (var v = 0u; v < VIEWS; v++) {
      if (v != crop) { below -= targets[(v * BATCH + image) * COLS + c] * d; }
    }
  }
  total = workgroupSum(total, lane);
  below = workgroupSum(below, lane);

  if (lane == 0u) {
    let others = select(VIEWS, VIEWS - 1u, crop < VIEWS);
    losses[r] = WEIGHT * (below + f32(others) * log(total));
    statistics[2u * r] = largest;
    statistics[2u * r + 1u] = total;
  }
}
