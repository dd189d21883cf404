// squares[s] = the sum of gradient * gradient over segment s.
//
//   segments  [segments of this part, 4] u32: first element in the part, elements, tensor, s
//   gradient  [elements of this part / 4] vec4 of f32; every tensor begins at a whole four
//   squares   [segments of all parts] f32
//
// One workgroup per segment; its threads stride over the elements, then add up in a tree.
// include reduce

override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> segments: array<vec4u>;
@group(0) @binding(1) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let g = group.y * grid.x + group.x;
  if (g >= arrayLength(&segments)) { return; }
  let segment = segments[g];
  let start = segment.x / 4u;
  let whole = start + segment.y / 4u;
  var squares4 = vec4f(0.0);
  for (var i = start + lane; i < whole; i += LANES) { squares4 += gradient[i] * gradient[i]; }
  let rest = segment.y % 4u;
  if (rest > 0u && lane == 0u) {
    let g = select(vec4f(0.0), gradient[whole], vec4u(0u, 1u, 2u, 3u) < vec4u(rest));
    squares4 += g * g;
  }
  let total = workgroupSum(dot(squares4, vec4f(1.0)), lane);
  if (lane == 0u) { squares[segment.w] = total; }
}
