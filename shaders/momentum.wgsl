// v = MOMENTUM * v + scale * gradient + decay * parameter, parameter = parameter - lr * v.
//
//   segments                [segments of this part, 4] u32: first element in the part, elements, tensor, segment
//   control                 [tensors, 4] f32: scale, decay, lr, and 0 to skip the tensor
//   gradient, parameter, v  [elements of this part] f32
//
// One workgroup per segment; its threads stride over the elements.

override MOMENTUM: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> segments: array<vec4u>;
@group(0) @binding(1) var<storage, read> control: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(4) var<storage, read_write> v: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let s = group.y * grid.x + group.x;
  if (s >= arrayLength(&segments)) { return; }
  let segment = segments[s];
  let c = control[segment.z];
  if (c.w == 0.0) { return; }
  let end = segment.x + segment.y;
  for (var i = segment.x + lane; i < end; i += LANES) {
    let velocity = MOMENTUM * v[i] + (c.x * gradient[i] + c.y * parameter[i]);
    v[i] = velocity;
    parameter[i] -= c.z * velocity;
  }
}
