// dx = gain * rstd * (dy - SHARE * (dBias + xhat * dGain)), rstd = 1 / sqrt(variance + EPSILON), xhat = (x - mean) * rstd.
// SHARE is 1 / rows where mean and variance are those of x, and 0 where they are given.
//
//   x, dy, dx                           [rows, COLS] f32
//   gain, mean, variance, dGain, dBias  [COLS] f32
//
// One thread an element.
// include element

override COLS: u32;
override EPSILON: f32;
override SHARE: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read> dGain: array<f32>;
@group(0) @binding(6) var<storage, read> dBias: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&dx)) { return; }
  let c = i % COLS;
  let rstd = inverseSqrt(variance[c] + EPSILON);
  let xhat = (x[i] - mean[c]) * rstd;
  dx[i] = gain[c] * rstd * (dy[i] - SHARE * (dBias[c] + xhat * dGain[c]));
}
