// Shared by the attention kernels on tensor cores; the including file binds `sizes`, sets ROWS, and defines `four`, four
// neighbours of a source in memory, and `store`, which writes four of its result.
//
// A workgroup of 128 threads takes ROWS tokens of a head, 64 at most, against COLS others at a time. A subgroup takes a strip of
// 16 rows; where there are fewer subgroups than strips, they go round again. Left matrices of rows stay in registers, right ones
// come from `tiles`, which all threads fill, with zeros past the last token and component. No thread can touch the elements of a
// result by itself, so results go to `scores`, two threads take each row, and what they make in f16 goes to where left
// matrices are loaded from. These threads take pairs of columns in turn, four rows each a turn later than those before, so that
// they meet in no bank.
//
// Memory is counted in pairs of f32 and quads of f16. Strides are odd multiples of 16 bytes, of 32 where threads read pairs by
// row, so that the rows of a matrix begin in different banks. All in all 26 KB at ROWS = 64.
// include attention-layout

const LANES = 128u;
const UNIT = 16u;
const COLS = 32u;
const QUADS = 16u;          // of 64 components, the most
const TILE_STRIDE = 18u;    // quads of f16
const SCORE_STRIDE = 20u;   // pairs of f32
const LOG2E = 1.4426950408889634;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Result = subgroup_matrix_result<f32, 16, 16>;

var<workgroup> tiles: array<vec4h, 2u * COLS * TILE_STRIDE>;  // tokens down, components along; first it brings ROWS of them
var<workgroup> scores: array<vec2f, ROWS * SCORE_STRIDE>;

/** A subgroup's part of a round over the rows from token `start` on. */
struct Strip {
  sequence: u32,    // over batch and heads
  start: u32,
  row: u32,         // its first
  takesPart: bool,  // in products: its rows are not all past the end
}

/** What a thread does between the products; apart from the above, since subgroups go one way and threads many. */
struct Thread {
  row: u32,      // shared by two
  half: u32,     // 0 or 1, which of the two
  exists: bool,  // the row
}

/** A round of `rows` rows. */
fn stripOf(sequence: u32, start: u32, rows: u32, subgroup: u32) -> Strip {
  let row = subgroup * UNIT;
  return Strip(sequence, start, row, row < min(rows, tokens() - start));
}

fn threadOf(start: u32, rows: u32, lane: u32) -> Thread {
  let row = lane / 2u;
  return Thread(row, lane % 2u, row < min(rows, tokens() - start));
}

/** The j-th pair of columns, out of `pairs`, for a thread of a row. */
fn pairOf(thread: Thread, j: u32, pairs: u32) -> u32 { return (2u * (j + thread.row / 4u) + thread.half) % pairs; }

/** Brings all components of `count` tokens from `first` on to rows of `tiles`. */
fn bring(source: u32, sequence: u32, first: u32, count: u32, row: u32, lane: u32) {
  for (var n = 0u; n < count * QUADS / LANES; n++) {
    let i = n * LANES + lane;
    let token = first + i / QUADS;
    let quad = i % QUADS;
    var found = vec4h();
    if (token < tokens() && 4u * quad < headDim()) { found = four(source, sequence, token, quad); }
    tiles[(row + i / QUADS) * TILE_STRIDE + quad] = found;
  }
}

/** 16 components, the c-th such, of 16 tokens down. */
fn left(row: u32, c: u32) -> Left { return subgroupMatrixLoad<Left, row_major>(&tiles, row * TILE_STRIDE + 4u * c, TILE_STRIDE); }

/** The product of 16 rows, all their components, with those of 16 tokens across. */
fn against(a0: Left, a1: Left, a2: Left, a3: Left, row: u32) -> Result {
  let at = row * TILE_STRIDE;
  var sums = Result();
  sums = subgroupMatrixMultiplyAccumulate(a0, subgroupMatrixLoad<Right, col_major>(&tiles, at, TILE_STRIDE), sums);
  sums = subgroupMatrixMultiplyAccumulate(a1, subgroupMatrixLoad<Right, col_major>(&tiles, at + 4u, TILE_STRIDE), sums);
  sums = subgroupMatrixMultiplyAccumulate(a2, subgroupMatrixLoad<Right, col_major>(&tiles, at + 8u, TILE_STRIDE), sums);
  sums = subgroupMatrixMultiplyAccumulate(a3, subgroupMatrixLoad<Right, col_major>(&tiles, at + 12u, TILE_STRIDE), sums);
  return sums;
}

/** sums + what 16 rows have for 16 tokens times those tokens' components, the c-th 16. */
fn plus(sums: Result, weights: Left, row: u32, c: u32) -> Result {
  let components = subgroupMatrixLoad<Right, row_major>(&tiles, row * TILE_STRIDE + 4u * c, TILE_STRIDE);
  return subgroupMatrixMultiplyAccumulate(weights, components, sums);
}

/** Lays a matrix of every strip into `scores`, from a pair of columns on. */
fn lay(strip: Strip, x: Result, pair: u32) {
  subgroupMatrixStore<row_major>(&scores, strip.row * SCORE_STRIDE + pair, x, SCORE_STRIDE);
}

/**
 * Stores 32 components of the rows' result, from the `first` on, out of two matrices a strip, times a factor of each row; `start`
 * is where those of its token begin.
 */
fn finish(strip: Strip, thread: Thread, x: array<Result, 2>, first: u32, factor: f32, start: u32) {
  layTwo(strip, x);
  workgroupBarrier();
  if (thread.exists) {
    for (var quad = 4u * thread.half; quad < 4u * thread.half + 4u; quad++) {
      let at = thread.row * SCORE_STRIDE + 2u * quad;
      let component = first + 4u * quad;
      if (component < headDim()) { store(start + component, vec4f(scores[at], scores[at + 1u]) * factor); }
    }
  }
  workgroupBarrier();
}

fn layTwo(strip: Strip, x: array<Result, 2>) {
  if (strip.takesPart) {
    lay(strip, x[0], 0u);
    lay(strip, x[1], UNIT / 2u);
  }
}
