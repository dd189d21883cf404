// sum = x + branch, and y = layernorm(sum) = (sum - mean) * rstd * gain + bias over the last axis, rstd = 1 / sqrt(variance + EPSILON)
// (Ba et al. 2016, eq. 4), in one reading of the rows.
//
//   x, branch, sum, y  [ROWS, COLS / 4] vec4 of f32
//   gain, bias         [COLS / 4] vec4 of f32
//   statistics         [ROWS, 2] f32: mean and rstd of each row, for the backward
//
// One workgroup per row, which its LANES threads keep in registers.
// include add-layernorm-row

override ROWS: u32;
override COLS: u32;
override EPSILON: f32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> branch: array<vec4f>;
@group(0) @binding(2) var<storage, read> gain: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> sum: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> statistics: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r < ROWS) { addAndNormalize(r, lane); }
}

fn branchAt(i: u32) -> vec4f { return branch[i]; }
fn store(i: u32, value: vec4f) { y[i] = value; }
