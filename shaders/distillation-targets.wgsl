// targets = softmax((x - center) / temperature), a chunk of the columns of it: the sharpened, centered teacher of DINO
// (Caron et al. 2021, algorithm 1).
//
//   x, targets   [ROWS, COLS] f32
//   center       [COLS] f32
//   temperature  [] f32
//   statistics   [ROWS, 2] f32: max (x - center) and sum exp((x - center - max) / temperature) of the whole row
//
// One workgroup per row; its LANES threads stride over the columns.

override ROWS: u32;
override COLS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> center: array<f32>;
@group(0) @binding(2) var<storage, read> temperature: array<f32>;
@group(0) @binding(3) var<storage, read> statistics: array<f32>;
@group(0) @binding(4) var<storage, read_write> targets: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let row = r * COLS;
  let largest = statistics[2u * r];
  let total = statistics[2u * r + 1u];

  for (var c = lane; c < COLS; c += LANES) {
    targets[row + c] = exp((x[row + c] - center[c] - largest) / temperature[0]) / total;
  }
}
