// dStudent = dLosses * WEIGHT / TEMPERATURE * sum over views v != crop of (softmax(student / TEMPERATURE) - targets[v]), a chunk
// of the columns of it.
// Rows are crop-major: row = (crop - FIRST_CROP) * BATCH + image.
//
//   student            [ROWS, COLS] f32
//   dStudent           [ROWS, COLS] f16
//   targets            [VIEWS * BATCH, COLS] f32
//   statistics         [ROWS, 2] f32: max x and sum exp((x - max x) / TEMPERATURE) of the whole row x of the student
//   dLosses            [ROWS] f32
//
// One workgroup per row; its LANES threads stride over the columns.
// include distillation-gradient

enable f16;

override ROWS: u32;
override COLS: u32;
override BATCH: u32;
override VIEWS: u32;
override FIRST_CROP: u32;
override TEMPERATURE: f32;
override WEIGHT: f32;

@group(0) @binding(0) var<storage, read> student: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<f32>;
@group(0) @binding(2) var<storage, read> statistics: array<f32>;
@group(0) @binding(3) var<storage, read> dLosses: array<f32>;
@group(0) @binding(4) var<storage, read_write> dStudent: array<f16>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r < ROWS) { differentiate(r, lane); }
}

fn store(i: u32, value: f32) { dStudent[i] = f16(value); }
