// probabilities = softmax(q kᵀ * SCALE) of every head's first queries, from the log-sum-exp that attention.wgsl saved.
//
//   qkv            [batch, TOKENS, 3, HEADS, HEAD_DIM] f32
//   lse            [batch, HEADS, TOKENS] f32
//   probabilities  [batch, HEADS, QUERIES, TOKENS] f32
//
// One thread an element of probabilities.
// include element

override TOKENS: u32;
override QUERIES: u32;
override HEADS: u32;
override HEAD_DIM: u32;
override SCALE: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> lse: array<f32>;
@group(0) @binding(2) var<storage, read_write> probabilities: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&probabilities)) { return; }
  let row = i / TOKENS;  // over batch, heads and queries
  let sequence = row / QUERIES;
  let first = row % QUERIES;
  let stride = 3u * HEADS * HEAD_DIM;
  let start = sequence / HEADS * TOKENS * stride + sequence % HEADS * HEAD_DIM;
  let query = start + first * stride;
  let key = start + i % TOKENS * stride + HEADS * HEAD_DIM;
  var score = 0.0;
  for (var d = 0u; d < HEAD_DIM; d++) { score += qkv[query + d] * SCALE * qkv[key + d]; }
  probabilities[i] = exp(score - lse[sequence * TOKENS + first]);
}
