// Shared by the tiled backwards of attention; the including file sets PART, binds `sizes`, `lse` and `delta`, and defines `qkvAt`,
// `dOutAt` and `store`, which writes dQkv.
//
// A workgroup of 64 threads takes 64 rows (queries in part 0, else keys) against 64 columns (the others) at a time, as
// attention-tile-forward.wgsl.
// include attention-tile

const QUERIES = 0u;
const KEYS = 1u;
const VALUES = 2u;
const D_OUT = 3u;

fn differentiate(g: u32, thread: vec3u) {
  let blocks = (tokens() + 63u) / 64u;
  let sequence = g / blocks;
  if (sequence >= arrayLength(&lse) / tokens()) { return; }
  let first = g % blocks * 64u;
  let x = thread.x;
  let y = thread.y;
  let lane = 8u * y + x;
  let rowsAreQueries = PART == 0u;
  let rowSource = select(KEYS, QUERIES, rowsAreQueries);
  let columnSource = select(QUERIES, KEYS, rowsAreQueries);
  let lower = first + 4u * y;  // a thread's first four rows, and its others
  let upper = lower + 32u;

  var sums: array<vec4f, 16>;
  for (var columns = 0u; columns < tokens(); columns += 64u) {
    var s = array<vec4f, 16>();  // zeros in words: without them each round goes on from the last one (Dawn 0.6.2)
    for (var d = 0u; d < headDim(); d += DEPTH) {
      bringTokens(rowSource, first, columnSource, columns, sequence, d, lane);
      accumulate(&s, x, y);
    }
    let left = columns + 8u * x;  // a thread's first four columns, and its others
    s[0] = p(s[0], sequence, lower, left);        s[1] = p(s[1], sequence, lower, left + 4u);
    s[2] = p(s[2], sequence, lower + 1u, left);   s[3] = p(s[3], sequence, lower + 1u, left + 4u);
    s[4] = p(s[4], sequence, lower + 2u, left);   s[5] = p(s[5], sequence, lower + 2u, left + 4u);
    s[6] = p(s[6], sequence, lower + 3u, left);   s[7] = p(s[7], sequence, lower + 3u, left + 4u);
    s[8] = p(s[8], sequence, upper, left);        s[9] = p(s[9], sequence, upper, left + 4u);
    s[10] = p(s[10], sequence, upper + 1u, left); s[11] = p(s[11], sequence, upper + 1u, left + 4u);
    s[12] = p(s[12], sequence, upper + 2u, left); s[13] = p(s[13], sequence, upper + 2u, left + 4u);
    s[14] = p(s[14], sequence, upper + 3u, left); s[15] = p(s[15], sequence, upper + 3u, left + 4u);
    if (PART != 2u) {
      var dp = array<vec4f, 16>();
      for (var d = 0u; d < headDim(); d += DEPTH) {
        bringTokens(select(VALUES, D_OUT, rowsAreQueries), first, select(D_OUT, VALUES, rowsAreQueries), columns, sequence, d, lane);
        accumulate(&dp, x, y);
      }
      s[0] *= ds(dp[0], sequence, lower, left);        s[1] *= ds(dp[1], sequence, lower, left + 4u);
      s[2] *= ds(dp[2], sequence, lower + 1u, left);   s[3] *= ds(dp[3], sequence, lower + 1u, left + 4u);
      s[4] *= ds(dp[4], sequence, lower + 2u, left);   s[5] *= ds(dp[5], sequence, lower + 2u, left + 4u);
      s[6] *= ds(dp[6], sequence, lower + 3u, left);   s[7] *= ds(dp[7], sequence, lower + 3u, left + 4u);
      s[8] *= ds(dp[8], sequence, upper, left);        s[9] *= ds(dp[9], sequence, upper, left + 4u);
      s[10] *= ds(dp[10], sequence, upper + 1u, left); s[11] *= ds(dp[11], sequence, upper + 1u, left + 4u);
      s[12] *= ds(dp[12], sequence, upper + 2u, left); s[13] *= ds(dp[13], sequence, upper + 2u, left + 4u);
      s[14] *= ds(dp[14], sequence, upper + 3u, left); s[15] *= ds(dp[15], sequence, upper + 3u, left + 4u);
    }
    let factor = select(columnSource, D_OUT, PART == 2u);
    for (var chunk = 0u; chunk < 4u; chunk++) {
      workgroupBarrier();
      bringScores(&s, chunk, x, y);
      bringComponents(factor, columns + 16u * chunk, sequence, lane);
      workgroupBarrier();
      accumulate(&sums, x, y);
    }
  }
  put(sequence, lower, x, sums[0], sums[1]);
  put(sequence, lower + 1u, x, sums[2], sums[3]);
  put(sequence, lower + 2u, x, sums[4], sums[5]);
  put(sequence, lower + 3u, x, sums[6], sums[7]);
  put(sequence, upper, x, sums[8], sums[9]);
  put(sequence, upper + 1u, x, sums[10], sums[11]);
  put(sequence, upper + 2u, x, sums[12], sums[13]);
  put(sequence, upper + 3u, x, sums[14], sums[15]);
}

/** What each query has in lse or delta: that of the row in part 0, else those of the four columns. */
fn lseOf(sequence: u32, row: u32, column: u32) -> vec4f {
  let at = sequence * tokens() + queriesOf(row, column);
  return vec4f(lse[at.x], lse[at.y], lse[at.z], lse[at.w]);
}

fn deltaOf(sequence: u32, row: u32, column: u32) -> vec4f {
  let at = sequence * tokens() + queriesOf(row, column);
  return vec4f(delta[at.x], delta[at.y], delta[at.z], delta[at.w]);
}

fn queriesOf(row: u32, column: u32) -> vec4u {
  return min(select(column + vec4u(0u, 1u, 2u, 3u), vec4u(row), PART == 0u), vec4u(tokens() - 1u));
}

/** Probabilities of four columns out of their products; 0 where there is no such token. */
fn p(products: vec4f, sequence: u32, row: u32, column: u32) -> vec4f {
  return select(vec4f(0.0), exp(products * scale() - lseOf(sequence, row, column)), exists(column));
}

/** What turns probabilities into gradients of the products. */
fn ds(dp: vec4f, sequence: u32, row: u32, column: u32) -> vec4f {
  return scale() * (dp - deltaOf(sequence, row, column));
}

fn scale() -> f32 { return inverseSqrt(f32(headDim())); }

fn put(sequence: u32, token: u32, x: u32, left: vec4f, right: vec4f) {
  if (token >= tokens()) { return; }
  let start = partStart(PART, sequence, token);
  for (var c = 0u; c < 4u; c++) {
    if (4u * x + c < headDim()) { store(start + 4u * x + c, left[c]); }
    if (32u + 4u * x + c < headDim()) { store(start + 32u + 4u * x + c, right[c]); }
  }
}

/** One component of queries (0), keys (1), values (2) or dOut (3); past the last one zero. */
fn component(source: u32, sequence: u32, token: u32, d: u32) -> f32 {
  if (d >= headDim()) { return 0.0; }
  if (source == D_OUT) { return dOutAt(tokenStart(sequence, token) + d); }
  return qkvAt(partStart(source, sequence, token) + d);
}
