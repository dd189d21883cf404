// out = a + b, where b repeats along the leading axes of a.
//
//   a, out  [..., b's shape] f32
//   b       [...]            f32
//
// One thread an element of out.
// include element

const LANES = 64u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&out)) { return; }
  out[i] = a[i] + b[i % arrayLength(&b)];
}
