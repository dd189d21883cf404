// teacher = momentum * teacher + (1 - momentum) * student, and exactly both where they are equal: what is never trained stays.
//
//   teacher, student  [... / 4] vec4 of f32
//   momentum          [] f32, 0..1
//
// One workgroup for 4096 elements; its threads stride over them: on lavapipe 3 times as fast as a thread an element.

const LANES = 64u;
const FOURS_PER_GROUP = 1024u;

@group(0) @binding(0) var<storage, read> student: array<vec4f>;
@group(0) @binding(1) var<storage, read> momentum: array<f32>;
@group(0) @binding(2) var<storage, read_write> teacher: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let start = (group.y * grid.x + group.x) * FOURS_PER_GROUP;
  let end = min(start + FOURS_PER_GROUP, arrayLength(&teacher));
  let keep = momentum[0];
  for (var i = start + lane; i < end; i += LANES) {
    let average = keep * teacher[i] + (1.0 - keep) * student[i];
    teacher[i] = select(average, teacher[i], teacher[i] == student[i]);
  }
}
