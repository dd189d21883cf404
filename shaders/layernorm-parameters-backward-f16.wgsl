// Partial sums of dGain = sum over rows of dy * xhat and dBias = sum over rows of dy, xhat = (x - mean) * rstd.
//
//   x           [ROWS, COLS] f32
//   dy          [ROWS, COLS] f16
//   statistics  [ROWS, 2] f32: mean and rstd of each row
//   dGain       [PARTS, COLS] f32
//   dBias       [PARTS, COLS] f32
//
// One workgroup for 64 columns of a part of the rows, a thread a column; the parts are added up by sum-rows.
// include layernorm-columns-backward

enable f16;

override ROWS: u32;
override COLS: u32;
override PARTS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> statistics: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f16>;
@group(0) @binding(3) var<storage, read_write> dGain: array<f32>;
@group(0) @binding(4) var<storage, read_write> dBias: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  backwardOfColumns(group.y * grid.x + group.x, lane);
}

fn dyAt(i: u32) -> f32 { return f32(dy[i]); }
