// Shared by the matmul kernels on tensor cores; the including file binds `bias` and `sizes`, sets BIAS, A_ALONG_K and
// B_ALONG_K, and defines `aFour` and `bFour`, four neighbours of a and b in memory, and `store`, four of c.
//
// A workgroup makes a tile of 128 x 128 over DEPTH steps of k at a time. Its threads bring the parts of a and b to shared memory as
// they lie in memory, zeros past the edges; they fetch them into registers before they multiply the parts that are there, so that
// memory and tensor cores work at the same time. A subgroup makes a region of 64 x 32, 4 x 2 matrices of 16 x 16; where the
// subgroups are so wide that there are fewer of them than regions, they go round again. The results leave through shared memory,
// a matrix of each region at a time.
//
// Shared memory is counted in fours of f16. Strides are odd multiples of 16 bytes, so that the rows of a matrix begin in
// different banks.
// Groups: x over columns, y over rows, z over the batch and its parts.

const LANES = 256u;
const SIDE = 128u;
const DEPTH = 32u;
const UNIT = 16u;
const REGIONS = 8u;                 // two down, four across
const K_STRIDE = DEPTH / 4u + 2u;     // of rows along k
const SIDE_STRIDE = SIDE / 4u + 2u;   // of rows along the side of the tile

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Result = subgroup_matrix_result<f32, 16, 16>;

var<workgroup> aTile: array<vec4h, SIDE * K_STRIDE>;  // or DEPTH * SIDE_STRIDE, which is less
var<workgroup> bTile: array<vec4h, SIDE * K_STRIDE>;
var<workgroup> results: array<vec4f, REGIONS * UNIT * UNIT / 4u>;

/** A workgroup's place in the product, and the subgroups that work in it. */
struct Work {
  z: u32,        // over the batch and its parts
  row: u32,
  col: u32,
  busy: u32,     // subgroups with a region
  round: u32,
  subgroup: u32,
}

/** A thread's share of a part of a or b. */
struct Share {
  x: vec4h,
  y: vec4h,
  z: vec4h,
  w: vec4h,
}

fn multiply(group: vec3u, lane: u32, subgroup: u32, subgroups: u32) {
  let SPLITS = sizes[9];
  let kStart = group.z % SPLITS * sizes[10];
  let kEnd = min(kStart + sizes[10], sizes[2]);
  let aStart = group.z / SPLITS * sizes[5];
  let bStart = group.z / SPLITS * sizes[8];
  let busy = min(subgroups, REGIONS);

  for (var round = 0u; round < (REGIONS + busy - 1u) / busy; round++) {
    let work = Work(group.z, group.y * SIDE, group.x * SIDE, busy, round, subgroup);
    let region = round * busy + subgroup;
    let takesPart = subgroup < busy && region < REGIONS;
    let down = region / 4u * 64u;
    let across = region % 4u * 32u;
    var acc = array<Result, 8>();
    for (var k = kStart; k < kEnd + DEPTH; k += DEPTH) {
      let a = fetchA(aStart, work.row, k, kEnd, lane);
      let b = fetchB(bStart, work.col, k, kEnd, lane);
      if (takesPart && k > kStart) {
        for (var d = 0u; d < DEPTH; d += UNIT) {
          let b0 = right(across, d);
          let b1 = right(across + UNIT, d);
          let a0 = left(down, d);
          acc[0] = subgroupMatrixMultiplyAccumulate(a0, b0, acc[0]);
          acc[1] = subgroupMatrixMultiplyAccumulate(a0, b1, acc[1]);
          let a1 = left(down + UNIT, d);
          acc[2] = subgroupMatrixMultiplyAccumulate(a1, b0, acc[2]);
          acc[3] = subgroupMatrixMultiplyAccumulate(a1, b1, acc[3]);
          let a2 = left(down + 2u * UNIT, d);
          acc[4] = subgroupMatrixMultiplyAccumulate(a2, b0, acc[4]);
          acc[5] = subgroupMatrixMultiplyAccumulate(a2, b1, acc[5]);
          let a3 = left(down + 3u * UNIT, d);
          acc[6] = subgroupMatrixMultiplyAccumulate(a3, b0, acc[6]);
          acc[7] = subgroupMatrixMultiplyAccumulate(a3, b1, acc[7]);
        }
      }
      workgroupBarrier();
      putA(a, lane);
      putB(b, lane);
      workgroupBarrier();
    }
    finish(work, lane, takesPart, 0u, acc[0]);
    finish(work, lane, takesPart, 1u, acc[1]);
    finish(work, lane, takesPart, 2u, acc[2]);
    finish(work, lane, takesPart, 3u, acc[3]);
    finish(work, lane, takesPart, 4u, acc[4]);
    finish(work, lane, takesPart, 5u, acc[5]);
    finish(work, lane, takesPart, 6u, acc[6]);
    finish(work, lane, takesPart, 7u, acc[7]);
  }
}

/** 16 rows of the tile's part of a, 16 steps of k. */
fn left(row: u32, d: u32) -> Left {
  if (A_ALONG_K) { return subgroupMatrixLoad<Left, row_major>(&aTile, row * K_STRIDE + d / 4u, K_STRIDE); }
  return subgroupMatrixLoad<Left, col_major>(&aTile, d * SIDE_STRIDE + row / 4u, SIDE_STRIDE);
}

/** 16 columns of the tile's part of b, 16 steps of k. */
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

fn fetchA(start: u32, row: u32, k: u32, kEnd: u32, lane: u32) -> Share {
  return Share(
    fetchFourOfA(start, row, k, kEnd, lane),
    fetchFourOfA(start, row, k, kEnd, lane + LANES),
    fetchFourOfA(start, row, k, kEnd, lane + 2u * LANES),
    fetchFourOfA(start, row, k, kEnd, lane + 3u * LANES),
  );
}

fn fetchFourOfA(start: u32, row: u32, k: u32, kEnd: u32, i: u32) -> vec4h {
  let place = placeOf(i, A_ALONG_K);
  let m = row + place.x;
  let step = k + place.y;
  var four = vec4h();
  if (m < sizes[0] && step < kEnd) { four = aFour(start + m * sizes[3] + step * sizes[4]); }
  return four;
}

fn fetchB(start: u32, col: u32, k: u32, kEnd: u32, lane: u32) -> Share {
  return Share(
    fetchFourOfB(start, col, k, kEnd, lane),
    fetchFourOfB(start, col, k, kEnd, lane + LANES),
    fetchFourOfB(start, col, k, kEnd, lane + 2u * LANES),
    fetchFourOfB(start, col, k, kEnd, lane + 3u * LANES),
  );
}

fn fetchFourOfB(start: u32, col: u32, k: u32, kEnd: u32, i: u32) -> vec4h {
  let place = placeOf(i, B_ALONG_K);
  let n = col + place.x;
  let step = k + place.y;
  var four = vec4h();
  if (n < sizes[1] && step < kEnd) { four = bFour(start + step * sizes[6] + n * sizes[7]); }
  return four;
}

fn putA(share: Share, lane: u32) {
  aTile[placeOf(lane, A_ALONG_K).z] = share.x;
  aTile[placeOf(lane + LANES, A_ALONG_K).z] = share.y;
  aTile[placeOf(lane + 2u * LANES, A_ALONG_K).z] = share.z;
  aTile[placeOf(lane + 3u * LANES, A_ALONG_K).z] = share.w;
}

fn putB(share: Share, lane: u32) {
  bTile[placeOf(lane, B_ALONG_K).z] = share.x;
  bTile[placeOf(lane + LANES, B_ALONG_K).z] = share.y;
  bTile[placeOf(lane + 2u * LANES, B_ALONG_K).z] = share.z;
  bTile[placeOf(lane + 3u * LANES, B_ALONG_K).z] = share.w;
}

/** Stores the t-th matrix of every region of a round. */
fn finish(work: Work, lane: u32, takesPart: bool, t: u32, sums: Result) {
  let fours = UNIT * UNIT / 4u;
  workgroupBarrier();
  if (takesPart) { subgroupMatrixStore<row_major>(&results, work.subgroup * fours, sums, UNIT / 4u); }
  workgroupBarrier();
  for (var i = lane; i < work.busy * fours; i += LANES) {
    let region = work.round * work.busy + i / fours;
    let m = work.row + region / 4u * 64u + t / 2u * UNIT + i % fours / (UNIT / 4u);
    let n = work.col + region % 4u * 32u + t % 2u * UNIT + i % (UNIT / 4u) * 4u;
    if (region < REGIONS && m < sizes[0] && n < sizes[1]) {
      var y = results[i];
      if (BIAS && work.z % sizes[9] == 0u) { y += vec4f(bias[n], bias[n + 1u], bias[n + 2u], bias[n + 3u]); }
      store((work.z * sizes[0] + m) * sizes[1] + n, y);
    }
  }
}
