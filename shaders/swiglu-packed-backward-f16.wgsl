// Both gradients of SwiGLU where gate and value are the first and the last HIDDEN columns of x, in the same places of dx:
// dy * value * silu'(gate) and dy * silu(gate), silu'(x) = s + x * s * (1 - s) with s = sigmoid(x).
//
//   x, dx  [rows, 2 * HIDDEN / 4] vec4 of f16; computed in f32
//   dy     [rows, HIDDEN / 4] vec4 of f16
//
// One thread for a four of dy.
// include element
// include silu

enable f16;

override HIDDEN: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<vec4h>;
@group(0) @binding(1) var<storage, read> dy: array<vec4h>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4h>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&dy)) { return; }
  let hidden = HIDDEN / 4u;  // in fours
  let at = i / hidden * 2u * hidden + i % hidden;
  let g = vec4f(x[at]);
  let d = vec4f(dy[i]);
  dx[at] = vec4h(d * vec4f(x[at + hidden]) * siluSlope(g));
  dx[at + hidden] = vec4h(d * g * sigmoid(g));
}
