// out[p, c] = the sum of x[r, c] over the p-th of PARTS runs of rows.
//
//   x    [ROWS, COLS]  f16
//   out  [PARTS, COLS] f32
//
// One workgroup for 64 columns of a part, a thread a column: no barrier, and the order is fixed.
// include sum-columns

enable f16;

override ROWS: u32;
override COLS: u32;
override PARTS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  sumColumns(group.y * grid.x + group.x, lane);
}

fn xAt(i: u32) -> f32 { return f32(x[i]); }
