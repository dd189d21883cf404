// Shared by the matmul kernels on tensor cores; the including file binds `bias` and `sizes`, sets BIAS and DEPTH, and defines
// `aFour` and `bFour`, four neighbours of a and b in memory, and `store`, an element of c.
//
// A workgroup makes a tile of 128 x 128 over DEPTH steps of k at a time, which all its threads bring to shared memory, zeros
// past the edges. A subgroup makes a region of 64 x 32, 4 x 2 matrices of 16 x 16; where the subgroups are so wide that there
// are fewer of them than regions, they go round again. The results leave through shared memory, a matrix of each region at a
// time, so that any edge, bias and precision is a matter of single elements.
// Groups: x over columns, y over rows, z over the batch and its parts.

const LANES = 256u;
const SIDE = 128u;
const UNIT = 16u;
const REGIONS = 8u;  // two down, four across
const PAD = 8u;      // rows of 16 bytes more, so that those of one matrix begin in different banks

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Result = subgroup_matrix_result<f32, 16, 16>;

var<workgroup> aTile: array<f16, SIDE * (DEPTH + PAD)>;  // k along
var<workgroup> bTile: array<f16, DEPTH * (SIDE + PAD)>;  // columns along
var<workgroup> results: array<f32, REGIONS * UNIT * UNIT>;

/** A workgroup's place in the product, and the subgroups that work in it. */
struct Work {
  z: u32,        // over the batch and its parts
  row: u32,
  col: u32,
  busy: u32,     // subgroups with a region
  round: u32,
  subgroup: u32,
}

fn multiply(group: vec3u, lane: u32, subgroup: u32, subgroups: u32) {
  let SPLITS = sizes[9];
  let kStart = group.z % SPLITS * sizes[10];
  let kEnd = min(kStart + sizes[10], sizes[2]);
  let aStart = group.z / SPLITS * sizes[5];
  let bStart = group.z / SPLITS * sizes[8];
  let aStride = DEPTH + PAD;
  let bStride = SIDE + PAD;
  let busy = min(subgroups, REGIONS);

  for (var round = 0u; round < (REGIONS + busy - 1u) / busy; round++) {
    let work = Work(group.z, group.y * SIDE, group.x * SIDE, busy, round, subgroup);
    let region = round * busy + subgroup;
    let takesPart = subgroup < busy && region < REGIONS;
    let down = region / 4u * 64u;
    let across = region % 4u * 32u;
    var acc = array<Result, 8>();
    for (var k = kStart; k < kEnd; k += DEPTH) {
      workgroupBarrier();
      bringA(aStart, work.row, k, kEnd, lane);
      bringB(bStart, work.col, k, kEnd, lane);
      workgroupBarrier();
      if (takesPart) {
        for (var d = 0u; d < DEPTH; d += UNIT) {
          let b0 = subgroupMatrixLoad<Right, row_major>(&bTile, d * bStride + across, bStride);
          let b1 = subgroupMatrixLoad<Right, row_major>(&bTile, d * bStride + across + UNIT, bStride);
          let a0 = subgroupMatrixLoad<Left, row_major>(&aTile, down * aStride + d, aStride);
          acc[0] = subgroupMatrixMultiplyAccumulate(a0, b0, acc[0]);
          acc[1] = subgroupMatrixMultiplyAccumulate(a0, b1, acc[1]);
          let a1 = subgroupMatrixLoad<Left, row_major>(&aTile, (down + UNIT) * aStride + d, aStride);
          acc[2] = subgroupMatrixMultiplyAccumulate(a1, b0, acc[2]);
          acc[3] = subgroupMatrixMultiplyAccumulate(a1, b1, acc[3]);
          let a2 = subgroupMatrixLoad<Left, row_major>(&aTile, (down + 2u * UNIT) * aStride + d, aStride);
          acc[4] = subgroupMatrixMultiplyAccumulate(a2, b0, acc[4]);
          acc[5] = subgroupMatrixMultiplyAccumulate(a2, b1, acc[5]);
          let a3 = subgroupMatrixLoad<Left, row_major>(&aTile, (down + 3u * UNIT) * aStride + d, aStride);
          acc[6] = subgroupMatrixMultiplyAccumulate(a3, b0, acc[6]);
          acc[7] = subgroupMatrixMultiplyAccumulate(a3, b1, acc[7]);
        }
      }
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

/** DEPTH steps of k of the tile's rows; quads lie along k where A_K is 1, else along the rows. */
fn bringA(start: u32, row: u32, k: u32, kEnd: u32, lane: u32) {
  let stride = DEPTH + PAD;
  for (var i = lane; i < SIDE * DEPTH / 4u; i += LANES) {
    if (sizes[4] == 1u) {
      let m = i / (DEPTH / 4u);
      let d = i % (DEPTH / 4u) * 4u;
      var four = vec4h();
      if (row + m < sizes[0] && k + d < kEnd) { four = aFour(start + (row + m) * sizes[3] + k + d); }
      let at = m * stride + d;
      aTile[at] = four.x;
      aTile[at + 1u] = four.y;
      aTile[at + 2u] = four.z;
      aTile[at + 3u] = four.w;
    } else {
      let m = i % (SIDE / 4u) * 4u;
      let d = i / (SIDE / 4u);
      var four = vec4h();
      if (row + m < sizes[0] && k + d < kEnd) { four = aFour(start + (k + d) * sizes[4] + row + m); }
      let at = m * stride + d;
      aTile[at] = four.x;
      aTile[at + stride] = four.y;
      aTile[at + 2u * stride] = four.z;
      aTile[at + 3u * stride] = four.w;
    }
  }
}

/** The same of the tile's columns; quads lie along k where B_K is 1, else along the columns. */
fn bringB(start: u32, col: u32, k: u32, kEnd: u32, lane: u32) {
  let stride = SIDE + PAD;
  for (var i = lane; i < SIDE * DEPTH / 4u; i += LANES) {
    if (sizes[6] == 1u) {
      let n = i / (DEPTH / 4u);
      let d = i % (DEPTH / 4u) * 4u;
      var four = vec4h();
      if (col + n < sizes[1] && k + d < kEnd) { four = bFour(start + (col + n) * sizes[7] + k + d); }
      let at = d * stride + n;
      bTile[at] = four.x;
      bTile[at + stride] = four.y;
      bTile[at + 2u * stride] = four.z;
      bTile[at + 3u * stride] = four.w;
    } else {
      let n = i % (SIDE / 4u) * 4u;
      let d = i / (SIDE / 4u);
      var four = vec4h();
      if (col + n < sizes[1] && k + d < kEnd) { four = bFour(start + (k + d) * sizes[6] + col + n); }
      let at = d * stride + n;
      bTile[at] = four.x;
      bTile[at + 1u] = four.y;
      bTile[at + 2u] = four.z;
      bTile[at + 3u] = four.w;
    }
  }
}

/** Stores the t-th matrix of every region of a round. */
fn finish(work: Work, lane: u32, takesPart: bool, t: u32, sums: Result) {
  let size = UNIT * UNIT;
  workgroupBarrier();
  if (takesPart) { subgroupMatrixStore<row_major>(&results, work.subgroup * size, sums, UNIT); }
  workgroupBarrier();
  for (var i = lane; i < work.busy * size; i += LANES) {
    let region = work.round * work.busy + i / size;
    let m = work.row + region / 4u * 64u + t / 2u * UNIT + i % size / UNIT;
    let n = work.col + region % 4u * 32u + t % 2u * UNIT + i % UNIT;
    if (region < REGIONS && m < sizes[0] && n < sizes[1]) {
      var y = results[i];
      if (BIAS && work.z % sizes[9] == 0u) { y += bias[n]; }
      store((work.z * sizes[0] + m) * sizes[1] + n, y);
    }
  }
}
