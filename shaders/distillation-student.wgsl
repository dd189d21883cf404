// Contribution of a chunk of columns to the cross-entropies of each row of the student with the targets of the other crops
// (Caron et al. 2021, eq. 2 and 3), so that no row is needed whole (Milakov & Gimelshein 2018, section 3.1).
// Rows are crop-major: row = (crop - FIRST_CROP) * BATCH + image.
//
//   student  [ROWS, COLS] f32: the chunk
//   targets  [VIEWS * BATCH, COLS] f32: the chunk of softmaxes
//   part     [ROWS, 4] f32: the largest x of x = student; with d = (largest - x) / TEMPERATURE >= 0 the sum of exp(-d), and
//            over the views v != crop the sums of targets[v] * d and of targets[v]
//
// One workgroup per row; its LANES threads stride over the columns. The log-softmax is in no memory:
// -log softmax(z) = (max z - z) + log sum exp(z - max z), whose first part is added up with the exponentials.
// include reduce

override ROWS: u32;
override COLS: u32;
override BATCH: u32;
override VIEWS: u32;
override FIRST_CROP: u32;
override TEMPERATURE: f32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> student: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<f32>;
@group(0) @binding(2) var<storage, read_write> part: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let row = r * COLS;
  let crop = FIRST_CROP + r / BATCH;
  let image = r % BATCH;

  var largest = student[row];
  for (var c = lane; c < COLS; c += LANES) { largest = max(largest, student[row + c]); }
  largest = workgroupMax(largest, lane);

  var total = 0.0;
  var below = 0.0;
  var weight = 0.0;
  for (var c = lane; c < COLS; c += LANES) {
    let d = (largest - student[row + c]) / TEMPERATURE;
    total += exp(-d);
    var q = 0.0;
    for (var v = 0u; v < VIEWS; v++) {
      if (v != crop) { q += targets[(v * BATCH + image) * COLS + c]; }
    }
    below += q * d;
    weight += q;
  }
  total = workgroupSum(total, lane);
  below = workgroupSum(below, lane);
  weight = workgroupSum(weight, lane);

  if (lane == 0u) {
    part[4u * r] = largest;
    part[4u * r + 1u] = total;
    part[4u * r + 2u] = below;
    part[4u * r + 3u] = weight;
  }
}
