// AdamW (Loshchilov & Hutter 2019, algorithm 2), with g = clip * gradient:
//
//   m = beta1 * m + (1 - beta1) * g,   v = beta2 * v + (1 - beta2) * g * g
//   parameter = (1 - lr * weightDecay) * parameter - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + EPSILON)
//
//   segments                   [segments of this part, 4] u32: first element in the part, elements, tensor, segment
//   control                    [tensors, 4] f32: clip, 1 - lr * weightDecay, lr / (1 - beta1^t), sqrt(1 - beta2^t) or 0 to skip
//   gradient, parameter, m, v  [elements of this part / 4] vec4 of f32; every tensor begins at a whole four
//
// One workgroup per segment; its threads stride over the elements, four at a time. The gap behind a tensor stays zero.

override BETA1: f32;
override REST1: f32;  // 1 - beta1, as is REST2 of beta2
override BETA2: f32;
override REST2: f32;
override EPSILON: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> segments: array<vec4u>;
@group(0) @binding(1) var<storage, read> control: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> parameter: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> m: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> v: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let s = group.y * grid.x + group.x;
  if (s >= arrayLength(&segments)) { return; }
  let segment = segments[s];
  let c = control[segment.z];
  if (c.w == 0.0) { return; }
  let end = segment.x + segment.y;
  for (var i = segment.x / 4u + lane; 4u * i < end; i += LANES) {
    let here = 4u * i + vec4u(0u, 1u, 2u, 3u) < vec4u(end);
    let g = select(vec4f(0.0), c.x * gradient[i], here);
    let first = BETA1 * m[i] + REST1 * g;
    let second = BETA2 * v[i] + REST2 * g * g;
    m[i] = first;
    v[i] = second;
    parameter[i] = c.y * parameter[i] - c.z * first / (sqrt(second) / c.w + EPSILON);
  }
}
