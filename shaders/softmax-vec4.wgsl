// softmax.wgsl by four columns at a time, for rows of whole fours.
//
//   x, y  [ROWS, COLS / 4] vec4 of f32
//
// One workgroup per row; its LANES threads stride over the columns, sixteen a thread while there are as many.
// include reduce

override ROWS: u32;
override COLS: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let fours = COLS / 4u;
  let row = r * fours;

  var own = x[row].x;  // the largest that this thread has seen
  var totals = vec4f(0.0);
  let whole = fours - fours % (4u * LANES);
  for (var c = lane; c < whole; c += 4u * LANES) {
    let v0 = x[row + c];
    let v1 = x[row + c + LANES];
    let v2 = x[row + c + 2u * LANES];
    let v3 = x[row + c + 3u * LANES];
    let larger = max(own, most(max(max(v0, v1), max(v2, v3))));
    totals = totals * exp(own - larger) + (exp(v0 - larger) + exp(v1 - larger)) + (exp(v2 - larger) + exp(v3 - larger));
    own = larger;
  }
  for (var c = whole + lane; c < fours; c += LANES) {
    let v = x[row + c];
    let larger = max(own, most(v));
    totals = totals * exp(own - larger) + exp(v - larger);
    own = larger;
  }
  let largest = workgroupMax(own, lane);
  let total = workgroupSum(dot(totals, vec4f(1.0)) * exp(own - largest), lane);

  for (var c = lane; c < fours; c += LANES) { y[row + c] = exp(x[row + c] - largest) / total; }
}

fn most(v: vec4f) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
