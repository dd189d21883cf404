// out = a + b, where b repeats along the leading axes of a.
//
//   a, out  [..., b's shape] f32
//   b       [...]            f32
//
// One workgroup for 1024 elements; its threads stride over them: on lavapipe faster than a thread an element.
// include run

const LANES = 64u;
const RUN = 1024u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

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
