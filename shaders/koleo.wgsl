// losses = -log(distance + EPSILON), where distance = |x[row] - x[nearest]| is that of each row to the nearest other row of its
// group (Sablayrolles et al. 2018, section 3.2, https://arxiv.org/abs/1806.03198).
//
//   x          [ROWS, COLS] f32, GROUP rows after one another being a group
//   losses     [ROWS] f32
//   distances  [ROWS] f32, and
//   nearest    [ROWS] u32: the row at that distance, the first of several, both for the backward
//
// One workgroup per row; its LANES threads stride over the other rows of the group, each of which one thread compares whole.
// include reduce
// include finite

override ROWS: u32;
override GROUP: u32;
override COLS: u32;
override EPSILON: f32;
override LANES: u32;  // chosen by the engine for the adapter
const FARTHEST = 3.0e38;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> losses: array<f32>;
@group(0) @binding(2) var<storage, read_write> distances: array<f32>;
@group(0) @binding(3) var<storage, read_write> nearest: array<u32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let first = r / GROUP * GROUP;

  var least = FARTHEST;
  var place = GROUP;  // in the group, of the lane's nearest
  for (var other = lane; other < GROUP; other += LANES) {
    if (first + other == r) { continue; }
    var squares = 0.0;
    for (var c = 0u; c < COLS; c++) {
      let d = x[r * COLS + c] - x[(first + other) * COLS + c];
      squares += d * d;
    }
    if (squares < least) {
      least = squares;
      place = other;
    }
  }
  let smallest = -workgroupMax(-least, lane);
  let candidate = select(GROUP, place, least == smallest);
  place = u32(-workgroupMax(-f32(candidate), lane));  // exact: a group has fewer than 2^24 rows

  if (lane == 0u) {
    let distance = orNaN(sqrt(smallest), place < GROUP);  // none is near if the row, or each other one, holds a NaN
    losses[r] = -log(distance + EPSILON);
    distances[r] = distance;
    nearest[r] = first + place;
  }
}
