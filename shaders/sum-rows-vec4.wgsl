// out[p, c] = the sum of x[r, c] over the p-th of PARTS runs of rows, for rows of whole fours.
//
//   x    [ROWS, COLS / 4]  vec4 of f32
//   out  [PARTS, COLS / 4] vec4 of f32
//
// One workgroup for 256 columns of a part, a thread for four: no barrier, and the order is fixed.
// include sum-columns-vec4

override ROWS: u32;
override COLS: u32;
override PARTS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  sumColumns(group.y * grid.x + group.x, lane);
}

fn xAt(i: u32) -> vec4f { return x[i]; }
