// y[j] = FACTOR * x[order[j]]: takes samples of a batch.
//
//   x      [batch, SIZE / 4] vec4 of f32
//   order  [...] u32 below batch
//   y      [count, SIZE / 4] vec4 of f16
//
// One thread a four of y.
// include element

enable f16;

override SIZE: u32;
override FACTOR: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4h>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&y)) { return; }
  let size = SIZE / 4u;
  y[i] = vec4h(FACTOR * x[order[i / size] * size + i % size]);
}
