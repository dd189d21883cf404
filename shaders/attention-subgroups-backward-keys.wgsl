// The keys' and values' part of dQkv: attention-backward-keys.wgsl for CPUs with subgroups of 8 lanes. With p = exp(q·k scale - lse)
// and ds = p * (dOut·v - delta), dk = scale * sum over queries of ds q, dv = sum over queries of p dOut (Dao et al. 2022, alg. 4);
// scale = 1 / sqrt(HEAD_DIM).
//
//   qkv, dQkv   [batch, TOKENS, 3, HEADS, HEAD_DIM] f32; only the keys and values of dQkv are written
//   sizes       [3] u32: TOKENS, HEADS, HEAD_DIM; not constants, or each shape would be compiled apart
//   dOut        [batch, TOKENS, HEADS, HEAD_DIM] f32
//   lse, delta  [batch, HEADS, TOKENS] f32
//
// A workgroup is one subgroup and takes 16 keys of one head against QUERIES queries at a time, as attention-subgroups.wgsl does
// queries: p and ds go to shared memory, 32 queries a step, then the sums follow, 32 components a step; those so far wait in dQkv.
// include outer-product

enable subgroups;

const QUERIES = 128u;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> sizes: array<u32>;
@group(0) @binding(2) var<storage, read> dOut: array<f32>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> dQkv: array<f32>;

var<workgroup> probabilities: array<f32, 16u * QUERIES>;  // of a query its 16 keys, then of the next; so dScores
var<workgroup> dScores: array<f32, 16u * QUERIES>;

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
  let k = start + outStride + min(block + lane + vec2u(0u, LANES), vec2u(last)) * stride;
  let v = k + outStride;
  let scale = inverseSqrt(f32(HEAD_DIM));

  for (var first = 0u; first < TOKENS; first += QUERIES) {
    let count = min(QUERIES, TOKENS - first);
    for (var n = 0u; n < count; n += 32u) {
      let column = columnsOf(n, lane);
      let query = min(first + column, vec4u(last));
      let q = start + query * stride;
      let o = outStart + query * outStride;
      let row = sequence * TOKENS + query;
      let logTotal = vec4f(lse[row.x], lse[row.y], lse[row.z], lse[row.w]);
      let outDot = vec4f(delta[row.x], delta[row.y], delta[row.z], delta[row.w]);
      var s = array<vec4f, 16>();
      var t = array<vec4f, 16>();
      for (var d = 0u; d < HEAD_DIM; d++) {
        addOuter(&s, scale * vec2f(qkv[k.x + d], qkv[k.y + d]), vec4f(qkv[q.x + d], qkv[q.y + d], qkv[q.z + d], qkv[q.w + d]));
        addOuter(&t, vec2f(qkv[v.x + d], qkv[v.y + d]), vec4f(dOut[o.x + d], dOut[o.y + d], dOut[o.z + d], dOut[o.w + d]));
      }
      for (var i = 0u; i < 16u; i++) {
        let p = exp(s[i] - logTotal);
        let ds = p * (t[i] - outDot) * scale;
        for (var j = 0u; j < 4u; j++) {
          probabilities[16u * column[j] + i] = p[j];
          dScores[16u * column[j] + i] = ds[j];
        }
      }
    }
    workgroupBarrier();

    for (var c = 0u; c < HEAD_DIM; c += 32u) {
      let column = columnsOf(c, lane);
      let component = min(column, vec4u(HEAD_DIM - 1u));
      var q = start + first * stride + component;
      var o = outStart + first * outStride + component;
      var dk = array<vec4f, 16>();
      var dv = array<vec4f, 16>();
      if (first > 0u) {
        for (var i = 0u; i < 16u; i++) {
          let atK = start + outStride + min(block + i, last) * stride + component;
          let atV = atK + outStride;
          dk[i] = vec4f(dQkv[atK.x], dQkv[atK.y], dQkv[atK.z], dQkv[atK.w]);
          dv[i] = vec4f(dQkv[atV.x], dQkv[atV.y], dQkv[atV.z], dQkv[atV.w]);
        }
      }
      for (var n = 0u; n < count; n++) {
        let at = 16u * n + lane;
        addOuter(&dk, vec2f(dScores[at], dScores[at + LANES]), vec4f(qkv[q.x], qkv[q.y], qkv[q.z], qkv[q.w]));
        addOuter(&dv, vec2f(probabilities[at], probabilities[at + LANES]), vec4f(dOut[o.x], dOut[o.y], dOut[o.z], dOut[o.w]));
        q += stride;
        o += outStride;
      }
      for (var i = 0u; i < 16u; i++) {
        if (block + i <= last) {
          let at = start + outStride + (block + i) * stride + column;
          for (var j = 0u; j < 4u; j++) {
            if (column[j] < HEAD_DIM) {
              dQkv[at[j]] = dk[i][j];
              dQkv[at[j] + outStride] = dv[i][j];
            }
          }
        }
      }
    }
    workgroupBarrier();
  }
}
