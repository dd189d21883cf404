// y[r, ...] = factors[r] * x[r, ...].
//
//   x, y     [rows, ...] f32
//   factors  [rows] f32
//
// One thread an element.
// include element

const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> factors: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&y)) { return; }
  y[i] = factors[i / (arrayLength(&x) / arrayLength(&factors))] * x[i];
}
