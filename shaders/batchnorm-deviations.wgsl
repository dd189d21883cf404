// out[p, c] = the sum of (x[r, c] - mean[c])^2 over the p-th of PARTS runs of rows.
//
//   x     [ROWS, COLS]  f32
//   mean  [COLS] f32
//   out   [PARTS, COLS] f32
//
// One workgroup for 64 columns of a part, a thread a column: no barrier, and the order is fixed; the parts are added up by sum-rows.

override ROWS: u32;
override COLS: u32;
override PARTS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> mean: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let blocks = (COLS + LANES - 1u) / LANES;
  let g = group.y * grid.x + group.x;
  let part = g / blocks;
  let c = (g % blocks) * LANES + lane;
  if (part >= PARTS || c >= COLS) { return; }
  let rowsPerPart = (ROWS + PARTS - 1u) / PARTS;
  let end = min((part + 1u) * rowsPerPart, ROWS);
  var total = 0.0;
  for (var r = part * rowsPerPart; r < end; r++) {
    let d = x[r * COLS + c] - mean[c];
    total += d * d;
  }
  out[part * COLS + c] = total;
}
