// out = softmax(q kᵀ / sqrt(HEAD_DIM)) v for every head: attention.wgsl for CPUs with subgroups of 8 lanes (Dao et al. 2022, alg. 1).
//
//   qkv    [batch, TOKENS, 3, HEADS, HEAD_DIM] f32: queries, keys and values of every token; HEAD_DIM 64 at most
//   sizes  [3] u32: TOKENS, HEADS, HEAD_DIM; not constants, or each shape would be compiled apart
//   out    [batch, TOKENS, HEADS, HEAD_DIM] f32
//   lse    [batch, HEADS, TOKENS] f32: log-sum-exp of each query's scores, for the backward
//
// A workgroup is one subgroup and takes 16 queries of one head against 32 keys at a time. Scores, and the sums of values over the
// keys so far, stay with the lanes; exponentials go through shared memory to be passed round.
// include outer-product
// include log-sum-exp

enable subgroups;

const KEYS = 32u;
const LEAST = -3.0e38;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> sizes: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

var<workgroup> exponentials: array<f32, 16u * KEYS>;  // of a key its 16 queries, then of the next

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let TOKENS = sizes[0];
  let HEADS = sizes[1];
  let HEAD_DIM = sizes[2];
  let blocks = (TOKENS + 15u) / 16u;
  let g = group.y * grid.x + group.x;
  let sequence = g / blocks;  // over batch and heads
  if (sequence >= arrayLength(&lse) / TOKENS) { return; }
  let block = g % blocks * 16u;
  let outStride = HEADS * HEAD_DIM;
  let stride = 3u * outStride;  // from token to token
  let start = sequence / HEADS * TOKENS * stride + sequence % HEADS * HEAD_DIM;
  let last = TOKENS - 1u;  // past it a lane takes the last token again and stores nothing
  let q = start + min(block + lane + vec2u(0u, LANES), vec2u(last)) * stride;
  let scale = inverseSqrt(f32(HEAD_DIM));
  let lower = columnsOf(0u, lane);  // components of values
  let upper = columnsOf(32u, lane);
  let values = start + 2u * outStride;

  var largest: array<f32, 16>;  // of each query
  for (var i = 0u; i < 16u; i++) { largest[i] = LEAST; }
  var totals: array<f32, 16>;   // over a lane's own keys
  var sums0: array<vec4f, 16>;
  var sums1: array<vec4f, 16>;
  for (var first = 0u; first < TOKENS; first += KEYS) {
    let column = first + columnsOf(0u, lane);
    let exists = column < vec4u(TOKENS);
    let k = start + outStride + min(column, vec4u(last)) * stride;
    var s = array<vec4f, 16>();
    for (var d = 0u; d < HEAD_DIM; d++) {
      addOuter(&s, vec2f(qkv[q.x + d], qkv[q.y + d]), vec4f(qkv[k.x + d], qkv[k.y + d], qkv[k.z + d], qkv[k.w + d]));
    }
    workgroupBarrier();
    for (var i = 0u; i < 16u; i++) {
      let scores = select(vec4f(LEAST), s[i] * scale, exists);
      let raised = max(largest[i], subgroupMax(max(max(scores.x, scores.y), max(scores.z, scores.w))));
      let shrink = exp(largest[i] - raised);
      let p = exp(scores - raised);
      largest[i] = raised;
      totals[i] = totals[i] * shrink + dot(select(vec4f(0.0), p, exists), vec4f(1.0));
      sums0[i] *= shrink;
      sums1[i] *= shrink;
      for (var j = 0u; j < 4u; j++) { exponentials[16u * (lane + LANES * j) + i] = p[j]; }
    }
    workgroupBarrier();

    var v0 = values + first * stride + min(lower, vec4u(HEAD_DIM - 1u));
    var v1 = values + first * stride + min(upper, vec4u(HEAD_DIM - 1u));
    for (var n = 0u; n < min(KEYS, TOKENS - first); n++) {
      let p = vec2f(exponentials[16u * n + lane], exponentials[16u * n + LANES + lane]);
      addOuter(&sums0, p, vec4f(qkv[v0.x], qkv[v0.y], qkv[v0.z], qkv[v0.w]));
      if (HEAD_DIM > 32u) { addOuter(&sums1, p, vec4f(qkv[v1.x], qkv[v1.y], qkv[v1.z], qkv[v1.w])); }
      v0 += stride;
      v1 += stride;
    }
  }

  for (var i = 0u; i < 16u; i++) {
    let total = subgroupAdd(totals[i]);
    if (block + i <= last) {
      let at = (sequence / HEADS * TOKENS + block + i) * outStride + sequence % HEADS * HEAD_DIM;
      for (var j = 0u; j < 4u; j++) {
        if (lower[j] < HEAD_DIM) { out[at + lower[j]] = sums0[i][j] / total; }
        if (upper[j] < HEAD_DIM) { out[at + upper[j]] = sums1[i][j] / total; }
      }
      if (lane == 0u) { lse[sequence * TOKENS + block + i] = logSumExp(largest[i], total); }
    }
  }
}
