// squares[s] = the sum of gradient * gradient over segment s.
//
//   segments  [segments of this part, 4] u32: first element in the part, elements, tensor, s
//   gradient  [elements of this part] f32
//   squares   [segments of all parts] f32
//
// One workgroup per segment; its threads stride over the elements, then add up in a tree.
// include reduce

override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> segments: array<vec4u>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let g = group.y * grid.x + group.x;
  if (g >= arrayLength(&segments)) { return; }
  let segment = segments[g];
  let end = segment.x + segment.y;
  var total = 0.0;
  for (var i = segment.x + lane; i < end; i += LANES) { total += gradient[i] * gradient[i]; }
  total = workgroupSum(total, lane);
  if (lane == 0u) { squares[segment.w] = total; }
}
