// cast-f16.wgsl by four elements at a time, for tensors of whole fours.
//
//   x  [... / 4] vec4 of f32
//   y  [... / 4] vec4 of f16
//
// One workgroup for 1024 elements, a thread for four fours of them, which it loads before it stores any.
// include run

enable f16;

const LANES = 64u;
const RUN = 256u;  // in fours

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4h>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let run = runOf(group, grid, arrayLength(&y));
  let i = run.x + lane + vec4u(0u, LANES, 2u * LANES, 3u * LANES);
  let source = min(i, vec4u(arrayLength(&x) - 1u));
  let fours = array(vec4h(x[source.x]), vec4h(x[source.y]), vec4h(x[source.z]), vec4h(x[source.w]));
  if (i.x < run.y) { y[i.x] = fours[0]; }
  if (i.y < run.y) { y[i.y] = fours[1]; }
  if (i.z < run.y) { y[i.z] = fours[2]; }
  if (i.w < run.y) { y[i.w] = fours[3]; }
}
