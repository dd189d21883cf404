// y = (x - mean) * rstd * gain + bias over the last axis, rstd = 1 / sqrt(variance + EPSILON) (Ba et al. 2016, eq. 4).
//
//   x           [ROWS, COLS] f32
//   y           [ROWS, COLS] f16
//   gain, bias  [COLS] f32
//   statistics  [ROWS, 2] f32: mean and rstd of each row, for the backward
//
// One workgroup per row; its LANES threads stride over the columns.
// include layernorm-row

enable f16;

override ROWS: u32;
override COLS: u32;
override EPSILON: f32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f16>;
@group(0) @binding(4) var<storage, read_write> statistics: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r < ROWS) { normalizeRow(r, lane); }
}

fn store(i: u32, value: f32) { y[i] = f16(value); }
