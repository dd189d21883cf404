// out = softmax(q kᵀ / sqrt(HEAD_DIM)) v for every head: attention.wgsl for CPUs with subgroups of 8 lanes (Dao et al. 2022, alg. 1).
//
//   qkv    [batch, TOKENS, 3, HEADS, HEAD_DIM] f32: queries, keys and values of every token
//   sizes  [3] u32: TOKENS, HEADS, HEAD_DIM; not constants, or each shape would be compiled apart
//   out    [batch, TOKENS, HEADS, HEAD_DIM] f32
//   lse    [batch, HEADS, TOKENS] f32: log-sum-exp of each query's scores, for the backward
//
// A workgroup is one subgroup and takes 16 queries of one head against KEYS keys at a time: their scores go to shared memory, 32
// keys a step; then each lane makes the exponentials of two queries; then the sums of values follow, 32 components a step.
// Those over the keys before wait in `out`.
// include outer-product

enable subgroups;

const KEYS = 128u;
const LEAST = -3.0e38;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> sizes: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

var<workgroup> scores: array<f32, 16u * KEYS>;  // of a key its 16 queries, then of the next

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
  let outStart = sequence / HEADS * TOKENS * outStride + sequence % HEADS * HEAD_DIM;
  let last = TOKENS - 1u;  // past it a lane takes the last token again and stores nothing
  let query = block + lane + vec2u(0u, LANES);
  let q = start + min(query, vec2u(last)) * stride;
  let scale = inverseSqrt(f32(HEAD_DIM));

  var largest = vec2f(LEAST);
  var total = vec2f(0.0);
  for (var first = 0u; first < TOKENS; first += KEYS) {
    let count = min(KEYS, TOKENS - first);
    for (var n = 0u; n < count; n += 32u) {
      let column = columnsOf(n, lane);
      let k = start + outStride + min(first + column, vec4u(last)) * stride;
      var s = array<vec4f, 16>();
      for (var d = 0u; d < HEAD_DIM; d++) {
        addOuter(&s, vec2f(qkv[q.x + d], qkv[q.y + d]), vec4f(qkv[k.x + d], qkv[k.y + d], qkv[k.z + d], qkv[k.w + d]));
      }
      for (var i = 0u; i < 16u; i++) {
        for (var j = 0u; j < 4u; j++) { scores[16u * column[j] + i] = s[i][j] * scale; }
      }
    }
    workgroupBarrier();

    var newLargest = largest;
    for (var at = lane; at < 16u * count; at += 16u) { newLargest = max(newLargest, vec2f(scores[at], scores[at + LANES])); }
    let shrink = expOf(largest - newLargest);
    largest = newLargest;
    total *= shrink;
    for (var at = lane; at < 16u * count; at += 16u) {
      let p = expOf(vec2f(scores[at], scores[at + LANES]) - largest);
      scores[at] = p.x;
      scores[at + LANES] = p.y;
      total += p;
    }
    workgroupBarrier();

    for (var c = 0u; c < HEAD_DIM; c += 32u) {
      let column = columnsOf(c, lane);
      var v = start + 2u * outStride + first * stride + min(column, vec4u(HEAD_DIM - 1u));
      var s = array<vec4f, 16>();
      if (first > 0u) {
        for (var i = 0u; i < 16u; i++) {
          let at = outStart + min(block + i, last) * outStride + min(column, vec4u(HEAD_DIM - 1u));
          s[i] = vec4f(out[at.x], out[at.y], out[at.z], out[at.w]);
        }
        scaleRows(&s, shrink);
      }
      for (var n = 0u; n < count; n++) {
        let at = 16u * n + lane;
        addOuter(&s, vec2f(scores[at], scores[at + LANES]), vec4f(qkv[v.x], qkv[v.y], qkv[v.z], qkv[v.w]));
        v += stride;
      }
      if (first + KEYS >= TOKENS) { scaleRows(&s, 1.0 / total); }
      for (var i = 0u; i < 16u; i++) {
        if (block + i <= last) {
          let at = outStart + (block + i) * outStride + column;
          for (var j = 0u; j < 4u; j++) {
            if (column[j] < HEAD_DIM) { out[at[j]] = s[i][j]; }
          }
        }
      }
    }
    workgroupBarrier();
  }
  let logTotal = largest + log(total);
  if (query.x <= last) { lse[sequence * TOKENS + query.x] = logTotal.x; }
  if (query.y <= last) { lse[sequence * TOKENS + query.y] = logTotal.y; }
}

fn expOf(x: vec2f) -> vec2f { return exp(max(x, vec2f(-100.0))); }
