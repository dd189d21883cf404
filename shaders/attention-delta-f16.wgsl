// delta = dOut · out of every query, for the tiled backward of attention (Dao et al. 2022, alg. 4, line 19).
//
//   out, dOut  [batch, TOKENS, HEADS, HEAD_DIM] f16
//   delta      [batch, HEADS, TOKENS] f32
//
// One thread a query of a head, heads next to each other.
// include element

enable f16;

const LANES = 64u;

override TOKENS: u32;
override HEADS: u32;
override HEAD_DIM: u32;

@group(0) @binding(0) var<storage, read> out: array<f16>;
@group(0) @binding(1) var<storage, read> dOut: array<f16>;
@group(0) @binding(2) var<storage, read_write> delta: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&delta)) { return; }
  let head = i % HEADS;
  let token = i / HEADS;  // over batch and tokens
  var total = 0.0;
  for (var d = i * HEAD_DIM; d < (i + 1u) * HEAD_DIM; d++) { total += f32(out[d]) * f32(dOut[d]); }
  delta[(token / TOKENS * HEADS + head) * TOKENS + token % TOKENS] = total;
}
