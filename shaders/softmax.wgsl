// y = exp(x - max x) / sum exp(x - max x) over the last axis.
//
//   x, y  [ROWS, COLS] f32
//
// One workgroup per row; its LANES threads stride over the columns, two times: first for the maximum and, on the way, the sum,
// which shrinks where the maximum rises (Milakov & Gimelshein 2018, alg. 3), then for the result.
// include reduce

override ROWS: u32;
override COLS: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r >= ROWS) { return; }
  let row = r * COLS;

  var own = x[row];  // the largest that this thread has seen
  var total = 0.0;
  let whole = COLS - COLS % (4u * LANES);
  for (var c = lane; c < whole; c += 4u * LANES) {
    let v = vec4f(x[row + c], x[row + c + LANES], x[row + c + 2u * LANES], x[row + c + 3u * LANES]);
    let larger = max(own, max(max(v.x, v.y), max(v.z, v.w)));
    total = total * exp(own - larger) + dot(exp(v - larger), vec4f(1.0));
    own = larger;
  }
  for (var c = whole + lane; c < COLS; c += LANES) {
    let larger = max(own, x[row + c]);
    total = total * exp(own - larger) + exp(x[row + c] - larger);
    own = larger;
  }
  let largest = workgroupMax(own, lane);
  total = workgroupSum(total * exp(own - largest), lane);

  for (var c = lane; c < COLS; c += LANES) { y[row + c] = exp(x[row + c] - largest) / total; }
}
