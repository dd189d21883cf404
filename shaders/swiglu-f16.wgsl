// y = silu(gate) * value, silu(x) = x * sigmoid(x): SwiGLU (Shazeer 2020, GLU Variants Improve Transformer, eq. 5).
//
//   gate, value  [rows, STRIDE / 4] vec4 of f16; computed in f32: their first HIDDEN columns, and of value those from START on
//   y            [rows, HIDDEN / 4] vec4 of f16
//
// One thread for a four of y.
// include element
// include silu

enable f16;

override HIDDEN: u32;
override STRIDE: u32;
override START: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> gate: array<vec4h>;
@group(0) @binding(1) var<storage, read> value: array<vec4h>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4h>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&y)) { return; }
  let place = i / (HIDDEN / 4u) * (STRIDE / 4u) + i % (HIDDEN / 4u);
  let g = vec4f(gate[place]);
  y[i] = vec4h(g * sigmoid(g) * vec4f(value[START / 4u + place]));
}
