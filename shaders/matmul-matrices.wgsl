// Shared by the matmul kernels on tensor cores; the including file binds `bias` and `sizes`, sets BIAS, A_ALONG_K and
// B_ALONG_K, and defines `aFour` and `bFour`, four neighbours of a and b in memory, and `store`, four of c.
//
// A workgroup makes a tile of 128 x 128 over DEPTH steps of k at a time. Its threads fetch the next parts of a and b into registers
// before they multiply the parts in shared memory, so that memory and tensor cores work at the same time. A subgroup makes a region
// of 64 x 32, 4 x 2 matrices of 16 x 16; where the subgroups are so wide that there are fewer of them than regions, they go round
// again. The results leave through shared memory, a matrix of each region at a time.
// Groups: x over columns, y over rows, z over the batch and its parts.
// include matmul-matrices-tile

const LANES = 256u;
const SIDE = 128u;
const DEPTH = 32u;
const UNIT = 16u;
const REGION_ROWS = 64u;
const REGION_COLS = 32u;
const PAD = 2u;  // fours

alias Four = vec4h;
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Result = subgroup_matrix_result<f32, 16, 16>;

var<workgroup> aTile: array<vec4h, SIDE * K_STRIDE>;  // or DEPTH * SIDE_STRIDE, which is less
var<workgroup> bTile: array<vec4h, SIDE * K_STRIDE>;
var<workgroup> results: array<vec4f, REGIONS * UNIT * UNIT / 4u>;

/** A thread's share of a part of a or b. */
struct Share {
  x: Four,
  y: Four,
  z: Four,
  w: Four,
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
    let down = rowOf(region);
    let across = colOf(region);
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

fn fetchA(start: u32, row: u32, k: u32, kEnd: u32, lane: u32) -> Share {
  return Share(
    fetchFourOfA(start, row, k, kEnd, lane),
    fetchFourOfA(start, row, k, kEnd, lane + LANES),
    fetchFourOfA(start, row, k, kEnd, lane + 2u * LANES),
    fetchFourOfA(start, row, k, kEnd, lane + 3u * LANES),
  );
}

fn fetchB(start: u32, col: u32, k: u32, kEnd: u32, lane: u32) -> Share {
  return Share(
    fetchFourOfB(start, col, k, kEnd, lane),
    fetchFourOfB(start, col, k, kEnd, lane + LANES),
    fetchFourOfB(start, col, k, kEnd, lane + 2u * LANES),
    fetchFourOfB(start, col, k, kEnd, lane + 3u * LANES),
  );
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
