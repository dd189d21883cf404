// dx[b, t, c] = dy[b, c] * (x[b, t, c] / y[b, c])^(POWER - 1) / TOKENS where x > EPSILON, else 0; y is the generalised mean.
//
//   x, dx  [batch, TOKENS, COLS] f32
//   y, dy  [batch, COLS] f32
//
// One thread an element of x.
// include element

override TOKENS: u32;
override COLS: u32;
override POWER: f32;
override EPSILON: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&x)) { return; }
  let pooled = (i / (TOKENS * COLS)) * COLS + i % COLS;
  let share = pow(max(x[i], EPSILON) / y[pooled], POWER - 1.0) / f32(TOKENS);
  dx[i] = select(0.0, dy[pooled] * share, x[i] > EPSILON);
}
