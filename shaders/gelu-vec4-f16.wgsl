// gelu-f16.wgsl by four elements at a time, for tensors of whole fours.
//
//   x, y  [... / 4] vec4 of f16; computed in f32
//
// One workgroup for 1024 elements, a thread for four fours of them.
// include gelu-fours

enable f16;

const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<vec4h>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4h>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  geluOfRun(group, grid, lane);
}

fn xAt(i: u32) -> vec4f { return vec4f(x[i]); }
fn store(i: u32, value: vec4f) { y[i] = vec4h(value); }
