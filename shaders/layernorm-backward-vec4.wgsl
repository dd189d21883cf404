// layernorm-backward.wgsl by four columns at a time, for rows of whole fours.
//
//   x, dy, dx   [ROWS, COLS / 4] vec4 of f32
//   gain        [COLS / 4] vec4 of f32
//   statistics  [ROWS, 2] f32: mean and rstd of each row
//
// One workgroup per row; its LANES threads stride over the columns.
// include reduce

override ROWS: u32;
override COLS: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> gain: array<vec4f>;
@group(0) @binding(2) var<storage, read> statistics: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let fours = COLS / 4u;
  let row = r * fours;

  let mean = statistics[2u * r];
  let rstd = statistics[2u * r + 1u];

  var sumsG = vec4f(0.0);
  var sumsGX = vec4f(0.0);
  for (var c = lane; c < fours; c += LANES) {
    let g = dy[row + c] * gain[c];
    sumsG += g;
    sumsGX += g * (x[row + c] - mean) * rstd;
  }
  let meanG = workgroupSum(dot(sumsG, vec4f(1.0)), lane) / f32(COLS);
  let meanGX = workgroupSum(dot(sumsGX, vec4f(1.0)), lane) / f32(COLS);

  for (var c = lane; c < fours; c += LANES) {
    dx[row + c] = rstd * (dy[row + c] * gain[c] - meanG - (x[row + c] - mean) * rstd * meanGX);
  }
}
