// out = a + b: what a branch computed in f16 joins the residual stream.
//
//   a, out  [...] f32
//   b       [...] f16
//
// One workgroup for 1024 elements; its threads stride over them.
// include run

enable f16;

const LANES = 64u;
const RUN = 1024u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f16>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let run = runOf(group, grid, arrayLength(&out));
  for (var i = run.x + lane; i < run.y; i += LANES) { out[i] = a[i] + f32(b[i]); }
}
