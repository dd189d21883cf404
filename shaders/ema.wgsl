// teacher = momentum * teacher + (1 - momentum) * student.
//
//   teacher, student  [...] f32
//   momentum          [] f32, 0..1
//
// One thread an element.
// include element

const LANES = 64u;

@group(0) @binding(0) var<storage, read> student: array<f32>;
@group(0) @binding(1) var<storage, read> momentum: array<f32>;
@group(0) @binding(2) var<storage, read_write> teacher: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&teacher)) { return; }
  teacher[i] = momentum[0] * teacher[i] + (1.0 - momentum[0]) * student[i];
}
