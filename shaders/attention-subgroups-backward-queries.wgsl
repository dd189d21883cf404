// The queries' part of dQkv: attention-backward-queries.wgsl for CPUs with subgroups of 8 lanes. With p = exp(q·k scale - lse) and
// ds = p * (dOut·v - delta), dq = scale * sum over keys of ds k (Dao et al. 2022, alg. 4); scale = 1 / sqrt(HEAD_DIM).
//
//   qkv, dQkv   [batch, TOKENS, 3, HEADS, HEAD_DIM] f32; only the queries of dQkv are written
//   sizes       [3] u32: TOKENS, HEADS, HEAD_DIM; not constants, or each shape would be compiled apart
//   dOut        [batch, TOKENS, HEADS, HEAD_DIM] f32
//   lse, delta  [batch, HEADS, TOKENS] f32
//
// A workgroup is one subgroup and takes 16 queries of one head against KEYS keys at a time, as attention-subgroups.wgsl: ds goes
// to shared memory, 32 keys a step, then the sums of keys follow, 32 components a step; those so far wait in dQkv.
// include outer-product

enable subgroups;

const KEYS = 128u;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> sizes: array<u32>;
@group(0) @binding(2) var<storage, read> dOut: array<f32>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> dQkv: array<f32>;

var<workgroup> dScores: array<f32, 16u * KEYS>;  // of a key its 16 queries, then of the next

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
  let query = min(block + lane + vec2u(0u, LANES), vec2u(last));
  let q = start + query * stride;
  let o = outStart + query * outStride;
  let scores = sequence * TOKENS + query;
  let logTotal = vec2f(lse[scores.x], lse[scores.y]);
  let outDot = vec2f(delta[scores.x], delta[scores.y]);
  let scale = inverseSqrt(f32(HEAD_DIM));

  for (var first = 0u; first < TOKENS; first += KEYS) {
    let count = min(KEYS, TOKENS - first);
    for (var n = 0u; n < count; n += 32u) {
      let column = columnsOf(n, lane);
      let k = start + outStride + min(first + column, vec4u(last)) * stride;
      let v = k + outStride;
      var s = array<vec4f, 16>();
      var t = array<vec4f, 16>();
      for (var d = 0u; d < HEAD_DIM; d++) {
        addOuter(&s, scale * vec2f(qkv[q.x + d], qkv[q.y + d]), vec4f(qkv[k.x + d], qkv[k.y + d], qkv[k.z + d], qkv[k.w + d]));
        addOuter(&t, vec2f(dOut[o.x + d], dOut[o.y + d]), vec4f(qkv[v.x + d], qkv[v.y + d], qkv[v.z + d], qkv[v.w + d]));
      }
      subtractRows(&s, logTotal);
      subtractRows(&t, outDot);
      for (var i = 0u; i < 16u; i++) {
        let ds = exp(s[i]) * t[i] * scale;
        for (var j = 0u; j < 4u; j++) { dScores[16u * column[j] + i] = ds[j]; }
      }
    }
    workgroupBarrier();

    for (var c = 0u; c < HEAD_DIM; c += 32u) {
      let column = columnsOf(c, lane);
      var k = start + outStride + first * stride + min(column, vec4u(HEAD_DIM - 1u));
      var s = array<vec4f, 16>();
      if (first > 0u) {
        for (var i = 0u; i < 16u; i++) {
          let at = start + min(block + i, last) * stride + min(column, vec4u(HEAD_DIM - 1u));
          s[i] = vec4f(dQkv[at.x], dQkv[at.y], dQkv[at.z], dQkv[at.w]);
        }
      }
      for (var n = 0u; n < count; n++) {
        let at = 16u * n + lane;
        addOuter(&s, vec2f(dScores[at], dScores[at + LANES]), vec4f(qkv[k.x], qkv[k.y], qkv[k.z], qkv[k.w]));
        k += stride;
      }
      for (var i = 0u; i < 16u; i++) {
        if (block + i <= last) {
          let at = start + (block + i) * stride + column;
          for (var j = 0u; j < 4u; j++) {
            if (column[j] < HEAD_DIM) { dQkv[at[j]] = s[i][j]; }
          }
        }
      }
    }
    workgroupBarrier();
  }
}
