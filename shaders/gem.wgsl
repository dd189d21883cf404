// y[b, c] = (mean over t of max(x[b, t, c], EPSILON)^POWER)^(1 / POWER), the generalised mean of the tokens
// (Radenovic et al. 2018, Fine-tuning CNN image retrieval with no human annotation, eq. 3); NaN where a token holds a NaN or an
// infinity.
//
//   x  [batch, TOKENS, COLS] f32
//   y  [batch, COLS] f32
//
// One thread an element of y.
// include element
// include finite

override TOKENS: u32;
override COLS: u32;
override POWER: f32;
override EPSILON: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&y)) { return; }
  let first = (i / COLS) * TOKENS * COLS + i % COLS;
  var total = 0.0;
  var finite = true;
  for (var t = 0u; t < TOKENS; t++) {
    let value = x[first + t * COLS];
    total += pow(max(value, EPSILON), POWER);
    finite = finite && isFinite(value);
  }
  y[i] = orNaN(pow(total / f32(TOKENS), 1.0 / POWER), finite);
}
