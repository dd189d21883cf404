// Shared by the matmul kernels on matrices of 8 x 8 in f32, which Apple's GPUs multiply; the including file binds `bias` and
// `sizes`, sets BIAS, A_ALONG_K and B_ALONG_K, and defines `aFour` and `bFour`, four neighbours of a and b in memory, and `store`,
// four of c.
//
// A workgroup makes a tile of 64 x 64 over 16 steps of k at a time. Its threads bring the parts of a and b to shared memory as
// they lie in memory, zeros past the edges; they fetch them into registers before they multiply the parts that are there. A
// subgroup makes a region of 32 x 32, 4 x 4 matrices; where there are fewer subgroups than regions, they go round again. The
// results leave through shared memory, a matrix of each region at a time.
//
// Shared memory is counted in fours. Strides are odd multiples of 16 bytes, so that the rows of a matrix begin in different banks.
// Groups: x over columns, y over rows, z over the batch and its parts.

const LANES = 128u;
const SIDE = 64u;
const DEPTH = 16u;
const UNIT = 8u;
const REGIONS = 4u;                  // two down, two across
const K_STRIDE = DEPTH / 4u + 1u;    // of rows along k
const SIDE_STRIDE = SIDE / 4u + 1u;  // of rows along the side of the tile

alias Left = subgroup_matrix_left<f32, 8, 8>;
alias Right = subgroup_matrix_right<f32, 8, 8>;
alias Result = subgroup_matrix_result<f32, 8, 8>;

var<workgroup> aTile: array<vec4f, SIDE * K_STRIDE>;  // or DEPTH * SIDE_STRIDE, which is less
var<workgroup> bTile: array<vec4f, SIDE * K_STRIDE>;
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
  x: vec4f,
  y: vec4f,
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
    let down = region / 2u * 32u;
    let across = region % 2u * 32u;
    var acc = array<Result, 16>();
    for (var k = kStart; k < kEnd + DEPTH; k += DEPTH) {
      let a = Share(fetchA(aStart, work.row, k, kEnd, lane), fetchA(aStart, work.row, k, kEnd, lane + LANES));
      let b = Share(fetchB(bStart, work.col, k, kEnd, lane), fetchB(bStart, work.col, k, kEnd, lane + LANES));
      if (takesPart && k > kStart) {
        for (var d = 0u; d < DEPTH; d += UNIT) {
          let b0 = right(across, d);
          let b1 = right(across + UNIT, d);
          let b2 = right(across + 2u * UNIT, d);
          let b3 = right(across + 3u * UNIT, d);
          for (var i = 0u; i < 4u; i++) {
            let rows = left(down + i * UNIT, d);
            acc[4u * i] = subgroupMatrixMultiplyAccumulate(rows, b0, acc[4u * i]);
            acc[4u * i + 1u] = subgroupMatrixMultiplyAccumulate(rows, b1, acc[4u * i + 1u]);
            acc[4u * i + 2u] = subgroupMatrixMultiplyAccumulate(rows, b2, acc[4u * i + 2u]);
            acc[4u * i + 3u] = subgroupMatrixMultiplyAccumulate(rows, b3, acc[4u * i + 3u]);
          }
        }
      }
      workgroupBarrier();
      aTile[placeOf(lane, A_ALONG_K).z] = a.x;
      aTile[placeOf(lane + LANES, A_ALONG_K).z] = a.y;
      bTile[placeOf(lane, B_ALONG_K).z] = b.x;
      bTile[placeOf(lane + LANES, B_ALONG_K).z] = b.y;
      workgroupBarrier();
    }
    for (var t = 0u; t < 16u; t++) { finish(work, lane, takesPart, t, acc[t]); }
  }
}

/** 8 rows of the tile's part of a, 8 steps of k. */
fn left(row: u32, d: u32) -> Left {
  if (A_ALONG_K) { return subgroupMatrixLoad<Left, row_major>(&aTile, row * K_STRIDE + d / 4u, K_STRIDE); }
  return subgroupMatrixLoad<Left, col_major>(&aTile, d * SIDE_STRIDE + row / 4u, SIDE_STRIDE);
}

/** 8 columns of the tile's part of b, 8 steps of k. */
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

fn fetchA(start: u32, row: u32, k: u32, kEnd: u32, i: u32) -> vec4f {
  let place = placeOf(i, A_ALONG_K);
  let m = row + place.x;
  let step = k + place.y;
  var four = vec4f();
  if (m < sizes[0] && step < kEnd) { four = aFour(start + m * sizes[3] + step * sizes[4]); }
  return four;
}

fn fetchB(start: u32, col: u32, k: u32, kEnd: u32, i: u32) -> vec4f {
  let place = placeOf(i, B_ALONG_K);
  let n = col + place.x;
  let step = k + place.y;
  var four = vec4f();
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
    let m = work.row + region / 2u * 32u + t / 4u * UNIT + i % fours / (UNIT / 4u);
    let n = work.col + region % 2u * 32u + t % 4u * UNIT + i % (UNIT / 4u) * 4u;
    if (region < REGIONS && m < sizes[0] && n < sizes[1]) {
      var y = results[i];
      if (BIAS && work.z % sizes[9] == 0u) { y += vec4f(bias[n], bias[n + 1u], bias[n + 2u], bias[n + 3u]); }
      store((work.z * sizes[0] + m) * sizes[1] + n, y);
    }
  }
}
