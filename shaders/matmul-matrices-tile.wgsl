// Shared by matmul-matrices and matmul-matrices-8, which set the sizes: where a workgroup of a product works, how a and b come to
// `aTile` and `bTile`, how matrices are loaded from there, and how results leave.
//
// A tile has SIDE rows and columns, a region REGION_ROWS and REGION_COLS of them, a matrix UNIT; `Four` is a vector of four elements
// of a and b. The parts of a and b lie in shared memory as in memory, zeros past the edges. Shared memory is counted in fours; strides
// are odd multiples of 16 bytes, so that the rows of a matrix begin in different banks.

const K_STRIDE = DEPTH / 4u + PAD;    // of rows along k
const SIDE_STRIDE = SIDE / 4u + PAD;  // of rows along the side of the tile
const REGIONS_ACROSS = SIDE / REGION_COLS;
const MATRICES_ACROSS = REGION_COLS / UNIT;
const REGIONS = SIDE / REGION_ROWS * REGIONS_ACROSS;

/** A workgroup's place in the product, and the subgroups that work in it. */
struct Work {
  z: u32,        // over the batch and its parts
  row: u32,
  col: u32,
  busy: u32,     // subgroups with a region
  round: u32,
  subgroup: u32,
}

/** The first row of a region in the tile, and its first column. */
fn rowOf(region: u32) -> u32 { return region / REGIONS_ACROSS * REGION_ROWS; }
fn colOf(region: u32) -> u32 { return region % REGIONS_ACROSS * REGION_COLS; }

/** UNIT rows of the tile's part of a, UNIT steps of k. */
fn left(row: u32, d: u32) -> Left {
  if (A_ALONG_K) { return subgroupMatrixLoad<Left, row_major>(&aTile, row * K_STRIDE + d / 4u, K_STRIDE); }
  return subgroupMatrixLoad<Left, col_major>(&aTile, d * SIDE_STRIDE + row / 4u, SIDE_STRIDE);
}

/** UNIT columns of the tile's part of b, UNIT steps of k. */
fn right(col: u32, d: u32) -> Right {
  if (B_ALONG_K) { return subgroupMatrixLoad<Right, col_major>(&bTile, col * K_STRIDE + d / 4u, K_STRIDE); }
  return subgroupMatrixLoad<Right, row_major>(&bTile, d * SIDE_STRIDE + col / 4u, SIDE_STRIDE);
}

/** Where the i-th four of a part lies: (position along the side of the tile, step of k), and its place in shared memory. */
fn placeOf(i: u32, alongK: bool) -> vec3u {
  if (alongK) {
    let side = i / (DEPTH / 4u);
    let four = i % (DEPTH / 4u);
    return vec3u(side, 4u * four, side * K_STRIDE + four);
  }
  let step = i / (SIDE / 4u);
  let four = i % (SIDE / 4u);
  return vec3u(4u * four, step, step * SIDE_STRIDE + four);
}

fn fetchFourOfA(start: u32, row: u32, k: u32, kEnd: u32, i: u32) -> Four {
  let place = placeOf(i, A_ALONG_K);
  let m = row + place.x;
  let step = k + place.y;
  var four = Four();
  if (m < sizes[0] && step < kEnd) { four = aFour(start + m * sizes[3] + step * sizes[4]); }
  return four;
}

fn fetchFourOfB(start: u32, col: u32, k: u32, kEnd: u32, i: u32) -> Four {
  let place = placeOf(i, B_ALONG_K);
  let n = col + place.x;
  let step = k + place.y;
  var four = Four();
  if (n < sizes[1] && step < kEnd) { four = bFour(start + step * sizes[6] + n * sizes[7]); }
  return four;
}

/** Stores the t-th matrix of every region of a round. */
fn finish(work: Work, lane: u32, takesPart: bool, t: u32, sums: Result) {
  let fours = UNIT * UNIT / 4u;
  workgroupBarrier();
  if (takesPart) { subgroupMatrixStore<row_major>(&results, work.subgroup * fours, sums, UNIT / 4u); }
  workgroupBarrier();
  for (var i = lane; i < work.busy * fours; i += LANES) {
    let region = work.round * work.busy + i / fours;
    let m = work.row + rowOf(region) + t / MATRICES_ACROSS * UNIT + i % fours / (UNIT / 4u);
    let n = work.col + colOf(region) + t % MATRICES_ACROSS * UNIT + i % (UNIT / 4u) * 4u;
    if (region < REGIONS && m < sizes[0] && n < sizes[1]) {
      var y = results[i];
      if (BIAS && work.z % sizes[9] == 0u) { y += vec4f(bias[n], bias[n + 1u], bias[n + 2u], bias[n + 3u]); }
      store((work.z * sizes[0] + m) * sizes[1] + n, y);
    }
  }
}
