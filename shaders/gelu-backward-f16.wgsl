// dx = dy * (Phi(x) + x * phi(x)), phi the density of the standard normal.
//
//   x, dy, dx  [...] f16; computed in f32
//
// One workgroup for 1024 elements; its threads stride over them.
// include erf
// include run

enable f16;

const LANES = 64u;
const RUN = 1024u;

@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read> dy: array<f16>;
@group(0) @binding(2) var<storage, read_write> dx: array<f16>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let run = runOf(group, grid, arrayLength(&dx));
  for (var i = run.x + lane; i < run.y; i += LANES) {
    dx[i] = f16(f32(dy[i]) * geluSlope(f32(x[i])));
  }
}
