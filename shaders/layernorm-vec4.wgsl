// layernorm.wgsl by four columns at a time, for rows of whole fours.
//
//   x, y        [ROWS, COLS / 4] vec4 of f32
//   gain, bias  [COLS / 4] vec4 of f32
//   statistics  [ROWS, 2] f32: mean and rstd of each row, for the backward
//
// One workgroup per row; its LANES threads stride over the columns.
// include reduce

override ROWS: u32;
override COLS: u32;
override EPSILON: f32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> gain: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> statistics: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let fours = COLS / 4u;
  let row = r * fours;

  var sums = vec4f(0.0);
  for (var c = lane; c < fours; c += LANES) { sums += x[row + c]; }
  let mean = workgroupSum(dot(sums, vec4f(1.0)), lane) / f32(COLS);

  var squares = vec4f(0.0);
  for (var c = lane; c < fours; c += LANES) {
    let d = x[row + c] - mean;
    squares += d * d;
  }
  let rstd = inverseSqrt(workgroupSum(dot(squares, vec4f(1.0)), lane) / f32(COLS) + EPSILON);

  for (var c = lane; c < fours; c += LANES) { y[row + c] = (x[row + c] - mean) * rstd * gain[c] + bias[c]; }
  if (lane == 0u) {
    statistics[2u * r] = mean;
    statistics[2u * r + 1u] = rstd;
  }
}
