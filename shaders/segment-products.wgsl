// products[s] = the sums of gradient * gradient, gradient * parameter and parameter * parameter over segment s.
//
//   segments             [segments of this part, 4] u32: first element in the part, elements, tensor, s
//   gradient, parameter  [elements of this part] f32
//   products             [segments of all parts, 4] f32; the fourth is 0
//
// One workgroup per segment; its threads stride over the elements, then add up in a tree.
// include reduce

override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> segments: array<vec4u>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> parameter: array<f32>;
@group(0) @binding(3) var<storage, read_write> products: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let g = group.y * grid.x + group.x;
  if (g >= arrayLength(&segments)) { return; }
  let segment = segments[g];
  let end = segment.x + segment.y;
  var gg = 0.0;
  var gp = 0.0;
  var pp = 0.0;
  for (var i = segment.x + lane; i < end; i += LANES) {
    gg += gradient[i] * gradient[i];
    gp += gradient[i] * parameter[i];
    pp += parameter[i] * parameter[i];
  }
  gg = workgroupSum(gg, lane);
  gp = workgroupSum(gp, lane);
  pp = workgroupSum(pp, lane);
  if (lane == 0u) { products[segment.w] = vec4f(gg, gp, pp, 0.0); }
}
