// y = x in f32.
//
//   x  [...] f16
//   y  [...] f32
//
// One workgroup for 1024 elements; its threads stride over them.
// include run

enable f16;

const LANES = 64u;
const RUN = 1024u;

@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let run = runOf(group, grid, min(arrayLength(&x), arrayLength(&y)));  // an odd number of f16 is bound with one more
  for (var i = run.x + lane; i < run.y; i += LANES) { y[i] = f32(x[i]); }
}
