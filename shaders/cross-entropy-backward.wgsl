// dx = dy * (softmax(x) - 1 at the label), where y = crossEntropy(x, labels).
//
//   x, dx          [ROWS, COLS] f32
//   labels         [ROWS / EACH] u32: the right class, below COLS, of EACH rows after another
//   logTotals, dy  [ROWS] f32
//
// One thread an element of dx.
// include element

override COLS: u32;
override EACH: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> logTotals: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&dx)) { return; }
  let r = i / COLS;
  let isLabel = i % COLS == labels[r / EACH];
  dx[i] = dy[r] * (exp(x[i] - logTotals[r]) - select(0.0, 1.0, isLabel));
}
