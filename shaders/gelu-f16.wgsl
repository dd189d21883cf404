// y = x * Phi(x), the exact GELU (Hendrycks & Gimpel 2016, eq. 2): Phi(x) = (1 + erf(x / sqrt 2)) / 2.
//
//   x, y  [...] f16; computed in f32
//
// One workgroup for 1024 elements; its threads stride over them.
// include erf
// include run

enable f16;

const LANES = 64u;
const RUN = 1024u;

@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read_write> y: array<f16>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let run = runOf(group, grid, arrayLength(&y));
  for (var i = run.x + lane; i < run.y; i += LANES) {
    let v = f32(x[i]);
    y[i] = f16(v * normalCdf(v));
  }
}
