// y = x * Phi(x), the exact GELU (Hendrycks & Gimpel 2016, eq. 2): Phi(x) = (1 + erf(x / sqrt 2)) / 2.
//
//   x, y  [...] f32
//
// One thread an element.
// include erf
// include element

const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&y)) { return; }
  let v = x[i];
  y[i] = v * normalCdf(v);
}
