// Partial sums of dGain = sum over rows of dy * xhat and dBias = sum over rows of dy,
// xhat = (x - mean) / sqrt(variance + EPSILON).
//
//   x, dy           [ROWS, COLS] f32
//   mean, variance  [COLS] f32
//   dGain, dBias    [PARTS, COLS] f32
//
// One workgroup for 64 columns of a part of the rows, a thread a column; the parts are added up by sum-rows.

override ROWS: u32;
override COLS: u32;
override PARTS: u32;
override EPSILON: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> mean: array<f32>;
@group(0) @binding(2) var<storage, read> variance: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dGain: array<f32>;
@group(0) @binding(5) var<storage, read_write> dBias: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let blocks = (COLS + LANES - 1u) / LANES;
  let g = group.y * grid.x + group.x;
  let part = g / blocks;
  let c = (g % blocks) * LANES + lane;
  if (part >= PARTS || c >= COLS) { return; }
  let rowsPerPart = (ROWS + PARTS - 1u) / PARTS;
  let end = min((part + 1u) * rowsPerPart, ROWS);
  var gain = 0.0;
  var bias = 0.0;
  for (var r = part * rowsPerPart; r < end; r++) {
    gain += dy[r * COLS + c] * (x[r * COLS + c] - mean[c]);
    bias += dy[r * COLS + c];
  }
  dGain[part * COLS + c] = gain * inverseSqrt(variance[c] + EPSILON);
  dBias[part * COLS + c] = bias;
}
