// losses = WEIGHT * sum over views v != crop of -sum(targets[v] * logSoftmax(student / TEMPERATURE)), one for each row of the
// student (Caron et al. 2021, eq. 2 and 3) out of its chunks, see distillation-student.wgsl.
// Rows are crop-major: row = (crop - FIRST_CROP) * BATCH + image.
//
//   parts       [CHUNKS, stride] f32, each [ROWS, 4] and then a gap: largest, total, below and the targets' weight of a chunk
//   losses      [ROWS] f32
//   statistics  [ROWS, 2] f32: max x and sum exp((x - max x) / TEMPERATURE) of the whole row x of the student
//
// One thread a row.
// include element

override ROWS: u32;
override CHUNKS: u32;
override BATCH: u32;
override VIEWS: u32;
override FIRST_CROP: u32;
override TEMPERATURE: f32;
override WEIGHT: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> losses: array<f32>;
@group(0) @binding(2) var<storage, read_write> statistics: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = elementOf(group, grid, lane);
  if (r >= ROWS) { return; }
  let stride = arrayLength(&parts) / CHUNKS;

  var largest = parts[4u * r];
  for (var k = 1u; k < CHUNKS; k++) { largest = max(largest, parts[k * stride + 4u * r]); }

  var total = 0.0;
  var below = 0.0;
  for (var k = 0u; k < CHUNKS; k++) {
    let at = k * stride + 4u * r;
    let rise = (largest - parts[at]) / TEMPERATURE;
    total += exp(-rise) * parts[at + 1u];
    below += parts[at + 2u] + rise * parts[at + 3u];
  }

  let others = select(VIEWS, VIEWS - 1u, FIRST_CROP + r / BATCH < VIEWS);
  losses[r] = WEIGHT * (below + f32(others) * log(total));
  statistics[2u * r] = largest;
  statistics[2u * r + 1u] = total;
}
