// add.wgsl by four elements at a time, for tensors of whole fours.
//
//   a, out  [..., b's shape / 4] vec4 of f32
//   b       [... / 4]            vec4 of f32
//
// One workgroup for 1024 elements; its threads stride over them: on lavapipe faster than a thread an element.
// include run

const LANES = 64u;
const RUN = 256u;  // in fours

@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let run = runOf(group, grid, arrayLength(&out));
  let sameSize = arrayLength(&a) == arrayLength(&b);  // spares a slow remainder
  for (var i = run.x + lane; i < run.y; i += LANES) {
    var j = i;
    if (!sameSize) { j = i % arrayLength(&b); }
    out[i] = a[i] + b[j];
  }
}
