// dx = rstd * (g - mean(g) - xhat * mean(g * xhat)) over the last axis, g = dy * gain, xhat = (x - mean) * rstd.
//
//   x, dx       [ROWS, COLS] f32
//   dy          [ROWS, COLS] f16
//   gain        [COLS] f32
//   statistics  [ROWS, 2] f32: mean and rstd of each row
//
// One workgroup per row; its LANES threads stride over the columns.
// include layernorm-row-backward

enable f16;

override ROWS: u32;
override COLS: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
@group(0) @binding(2) var<storage, read> statistics: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f16>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r < ROWS) { backwardOfRow(r, lane); }
}

fn dyAt(i: u32) -> f32 { return f32(dy[i]); }
