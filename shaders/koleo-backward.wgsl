// dx of losses = -log(distance + EPSILON), distance = |x[row] - x[nearest[row]]|, nearest being fixed. With
// pull[row] = dLosses[row] / ((distance + EPSILON) * distance) a row moves with its own loss and with those of the rows that it
// is nearest to: dx[row] = pull[row] * (x[nearest[row]] - x[row]) + sum over j with nearest[j] = row of pull[j] * (x[j] - x[row]).
// Rows that are equal have no direction to part in: their pull is 0.
//
//   x, dx               [ROWS, COLS] f32, GROUP rows after one another being a group
//   distances, dLosses  [ROWS] f32
//   nearest             [ROWS] u32
//
// One workgroup per row; its LANES threads stride over the columns.

override ROWS: u32;
override GROUP: u32;
override COLS: u32;
override EPSILON: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> distances: array<f32>;
@group(0) @binding(2) var<storage, read> nearest: array<u32>;
@group(0) @binding(3) var<storage, read> dLosses: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

fn pull(row: u32) -> f32 {
  let distance = distances[row];
  if (distance == 0.0) { return 0.0; }
  return dLosses[row] / ((distance + EPSILON) * distance);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let first = r / GROUP * GROUP;
  let own = pull(r);

  for (var c = lane; c < COLS; c += LANES) {
    let here = x[r * COLS + c];
    var total = own * (x[nearest[r] * COLS + c] - here);
    for (var j = first; j < first + GROUP; j++) {
      if (nearest[j] == r) { total += pull(j) * (x[j * COLS + c] - here); }
    }
    dx[r * COLS + c] = total;
  }
}
