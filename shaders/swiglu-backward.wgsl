// dGate = dy * value * silu'(gate) and dValue = dy * silu(gate), silu'(x) = s + x * s * (1 - s) with s = sigmoid(x).
//
//   gate, value, dy, dGate, dValue  [rows, hidden / 4] vec4 of f32
//
// One thread for a four.
// include element
// include silu

const LANES = 64u;

@group(0) @binding(0) var<storage, read> gate: array<vec4f>;
@group(0) @binding(1) var<storage, read> value: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dGate: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dValue: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&dGate)) { return; }
  let g = gate[i];
  let d = dy[i];
  dGate[i] = d * value[i] * siluSlope(g);
  dValue[i] = d * g * sigmoid(g);
}
