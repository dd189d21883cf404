// Shared by the matmul kernels on matrices of 8 x 8 in f32, which Apple's GPUs multiply; the including file binds `bias` and
// `sizes`, sets BIAS, A_ALONG_K and B_ALONG_K, and defines `aFour` and `bFour`, four neighbours of a and b in memory, and `store`,
// four of c.
//
// A workgroup makes a tile of 64 x 64 over DEPTH steps of k at a time. Its threads fetch the next parts of a and b into registers
// before they multiply the parts in shared memory. A subgroup makes a region of 32 x 32, 4 x 4 matrices; where there are fewer
// subgroups than regions, they go round again. The results leave through shared memory, a matrix of each region at a time.
// Groups: x over columns, y over rows, z over the batch and its parts.
// include matmul-matrices-tile

const LANES = 128u;
const SIDE = 64u;
const DEPTH = 16u;
const UNIT = 8u;
const REGION_ROWS = 32u;
const REGION_COLS = 32u;
const PAD = 1u;  // fours

alias Four = vec4f;
alias Left = subgroup_matrix_left<f32, 8, 8>;
alias Right = subgroup_matrix_right<f32, 8, 8>;
alias Result = subgroup_matrix_result<f32, 8, 8>;

var<workgroup> aTile: array<vec4f, SIDE * K_STRIDE>;  // or DEPTH * SIDE_STRIDE, which is less
var<workgroup> bTile: array<vec4f, SIDE * K_STRIDE>;
var<workgroup> results: array<vec4f, REGIONS * UNIT * UNIT / 4u>;

/** A thread's share of a part of a or b. */
struct Share {
  x: Four,
  y: Four,
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
    var acc = array<Result, 16>();
    for (var k = kStart; k < kEnd + DEPTH; k += DEPTH) {
      let a = Share(fetchFourOfA(aStart, work.row, k, kEnd, lane), fetchFourOfA(aStart, work.row, k, kEnd, lane + LANES));
      let b = Share(fetchFourOfB(bStart, work.col, k, kEnd, lane), fetchFourOfB(bStart, work.col, k, kEnd, lane + LANES));
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
