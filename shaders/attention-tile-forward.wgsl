// Shared by the tiled forwards of attention; the including file binds `sizes` and `lse`, and defines `qkvAt` and `store`, which
// writes out.
//
// A workgroup of 64 threads takes 64 queries of one head against 64 keys at a time: scores and sums stay in registers, 8 x 8
// of each a thread.
// include attention-tile
// include log-sum-exp

const LEAST = -3.0e38;

var<workgroup> parts: array<vec4f, 128>;  // of 8 threads along x, 16 quads of rows each

fn attend(g: u32, thread: vec3u) {
  let blocks = (tokens() + 63u) / 64u;
  let sequence = g / blocks;  // over batch and heads
  if (sequence >= arrayLength(&lse) / tokens()) { return; }
  let first = g % blocks * 64u;
  let x = thread.x;
  let y = thread.y;
  let lane = 8u * y + x;
  let scale = inverseSqrt(f32(headDim()));

  var sums: array<vec4f, 16>;
  var largest0 = vec4f(LEAST);  // of a thread's first four rows
  var largest1 = vec4f(LEAST);
  var total0 = vec4f(0.0);      // over a thread's own columns
  var total1 = vec4f(0.0);
  for (var keys = 0u; keys < tokens(); keys += 64u) {
    var s = array<vec4f, 16>();  // zeros in words: without them each round goes on from the last one (Dawn 0.6.2)
    for (var d = 0u; d < headDim(); d += DEPTH) {
      bringTokens(0u, first, 1u, keys, sequence, d, lane);
      accumulate(&s, x, y);
    }
    let here0 = exists(keys + 8u * x);
    let here1 = exists(keys + 8u * x + 4u);
    for (var i = 0u; i < 16u; i += 2u) {
      s[i] = select(vec4f(LEAST), s[i] * scale, here0);
      s[i + 1u] = select(vec4f(LEAST), s[i + 1u] * scale, here1);
    }
    parts[16u * x + y] = vec4f(most(s[0], s[1]), most(s[2], s[3]), most(s[4], s[5]), most(s[6], s[7]));
    parts[16u * x + y + 8u] = vec4f(most(s[8], s[9]), most(s[10], s[11]), most(s[12], s[13]), most(s[14], s[15]));
    workgroupBarrier();
    var new0 = largest0;
    var new1 = largest1;
    for (var t = 0u; t < 8u; t++) {
      new0 = max(new0, parts[16u * t + y]);
      new1 = max(new1, parts[16u * t + y + 8u]);
    }
    let shrink0 = exp(largest0 - new0);
    let shrink1 = exp(largest1 - new1);
    largest0 = new0;
    largest1 = new1;
    s[0] = exp(s[0] - new0.x);    s[1] = exp(s[1] - new0.x);
    s[2] = exp(s[2] - new0.y);    s[3] = exp(s[3] - new0.y);
    s[4] = exp(s[4] - new0.z);    s[5] = exp(s[5] - new0.z);
    s[6] = exp(s[6] - new0.w);    s[7] = exp(s[7] - new0.w);
    s[8] = exp(s[8] - new1.x);    s[9] = exp(s[9] - new1.x);
    s[10] = exp(s[10] - new1.y);  s[11] = exp(s[11] - new1.y);
    s[12] = exp(s[12] - new1.z);  s[13] = exp(s[13] - new1.z);
    s[14] = exp(s[14] - new1.w);  s[15] = exp(s[15] - new1.w);
    for (var i = 0u; i < 16u; i += 2u) {
      s[i] = select(vec4f(0.0), s[i], here0);
      s[i + 1u] = select(vec4f(0.0), s[i + 1u], here1);
    }
    total0 = total0 * shrink0 + vec4f(all8(s[0], s[1]), all8(s[2], s[3]), all8(s[4], s[5]), all8(s[6], s[7]));
    total1 = total1 * shrink1 + vec4f(all8(s[8], s[9]), all8(s[10], s[11]), all8(s[12], s[13]), all8(s[14], s[15]));
    sums[0] *= shrink0.x;   sums[1] *= shrink0.x;
    sums[2] *= shrink0.y;   sums[3] *= shrink0.y;
    sums[4] *= shrink0.z;   sums[5] *= shrink0.z;
    sums[6] *= shrink0.w;   sums[7] *= shrink0.w;
    sums[8] *= shrink1.x;   sums[9] *= shrink1.x;
    sums[10] *= shrink1.y;  sums[11] *= shrink1.y;
    sums[12] *= shrink1.z;  sums[13] *= shrink1.z;
    sums[14] *= shrink1.w;  sums[15] *= shrink1.w;
    for (var chunk = 0u; chunk < 4u; chunk++) {
      workgroupBarrier();
      bringScores(&s, chunk, x, y);
      bringComponents(2u, keys + 16u * chunk, sequence, lane);
      workgroupBarrier();
      accumulate(&sums, x, y);
    }
  }

  parts[16u * x + y] = total0;
  parts[16u * x + y + 8u] = total1;
  workgroupBarrier();
  total0 = vec4f(0.0);
  total1 = vec4f(0.0);
  for (var t = 0u; t < 8u; t++) {
    total0 += parts[16u * t + y];
    total1 += parts[16u * t + y + 8u];
  }
  put(sequence, first + 4u * y, x, sums[0] / total0.x, sums[1] / total0.x);
  put(sequence, first + 4u * y + 1u, x, sums[2] / total0.y, sums[3] / total0.y);
  put(sequence, first + 4u * y + 2u, x, sums[4] / total0.z, sums[5] / total0.z);
  put(sequence, first + 4u * y + 3u, x, sums[6] / total0.w, sums[7] / total0.w);
  put(sequence, first + 4u * y + 32u, x, sums[8] / total1.x, sums[9] / total1.x);
  put(sequence, first + 4u * y + 33u, x, sums[10] / total1.y, sums[11] / total1.y);
  put(sequence, first + 4u * y + 34u, x, sums[12] / total1.z, sums[13] / total1.z);
  put(sequence, first + 4u * y + 35u, x, sums[14] / total1.w, sums[15] / total1.w);
  if (x == 0u) {
    putLse(sequence, first + 4u * y, largest0, total0);
    putLse(sequence, first + 4u * y + 32u, largest1, total1);
  }
}

fn put(sequence: u32, token: u32, x: u32, lower: vec4f, upper: vec4f) {
  if (token >= tokens()) { return; }
  let start = tokenStart(sequence, token);
  for (var c = 0u; c < 4u; c++) {
    if (4u * x + c < headDim()) { store(start + 4u * x + c, lower[c]); }
    if (32u + 4u * x + c < headDim()) { store(start + 32u + 4u * x + c, upper[c]); }
  }
}

fn putLse(sequence: u32, first: u32, largest: vec4f, total: vec4f) {
  for (var i = 0u; i < 4u; i++) {
    if (first + i < tokens()) { lse[sequence * tokens() + first + i] = logSumExp(largest[i], total[i]); }
  }
}

/** One component of queries (0), keys (1) or values (2); past the last one zero. */
fn component(source: u32, sequence: u32, token: u32, d: u32) -> f32 {
  return select(0.0, qkvAt(partStart(source, sequence, token) + d), d < headDim());
}

fn most(a: vec4f, b: vec4f) -> f32 {
  let m = max(a, b);
  return max(max(m.x, m.y), max(m.z, m.w));
}

fn all8(a: vec4f, b: vec4f) -> f32 { return dot(a + b, vec4f(1.0)); }
