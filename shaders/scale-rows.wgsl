// y[r, ...] = factors[r] * x[r, ...].
//
//   x, y     [ROWS, COLS] f32
//   factors  [ROWS] f32
//
// One workgroup per row, which spares a slow division; its LANES threads stride over the columns.

override ROWS: u32;
override COLS: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> factors: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let factor = factors[r];
  for (var i = r * COLS + lane; i < (r + 1u) * COLS; i += LANES) { y[i] = factor * x[i]; }
}
