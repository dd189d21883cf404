// y = (x - mean) / sqrt(variance + EPSILON) * gain + bias in every column (Ioffe & Szegedy 2015, algorithm 1).
//
//   x, y                        [rows, COLS] f32
//   gain, bias, mean, variance  [COLS] f32
//
// One thread an element.
// include element

override COLS: u32;
override EPSILON: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> variance: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&y)) { return; }
  let c = i % COLS;
  y[i] = (x[i] - mean[c]) * inverseSqrt(variance[c] + EPSILON) * gain[c] + bias[c];
}
