// Shared by the tiled matmul kernels; the including file binds `bias` and `sizes`, sets BIAS and SIDE, and defines `aAt`, `bAt`
// and `store`, the elements of a, b and c.
//
// A workgroup of SIDE x SIDE threads makes a tile of 8 SIDE rows x 8 SIDE columns, a thread 8 x 8 of it, over DEPTH steps of
// k at a time, which it brings to shared memory while the products of the former ones run. Shared memory holds four rows
// (or columns) in a vec4, its place turned by k, so that threads along k write to banks of their own.
// Groups: x over columns, y over rows, z over the batch and its parts.

const DEPTH = 16u;

var<workgroup> aTile: array<vec4f, 2u * SIDE * DEPTH>;
var<workgroup> bTile: array<vec4f, 2u * SIDE * DEPTH>;

fn multiply(group: vec3u, thread: vec3u) {
  let A_K = sizes[4];
  let B_K = sizes[6];
  let SPLITS = sizes[9];
  let part = group.z % SPLITS;
  let kStart = part * sizes[10];
  let kEnd = min(kStart + sizes[10], sizes[2]);
  let aStart = group.z / SPLITS * sizes[5];
  let bStart = group.z / SPLITS * sizes[8];
  let row = group.y * 8u * SIDE;
  let col = group.x * 8u * SIDE;

  // Threads lie along the axis in which memory runs. Each brings 4 rows at one k, DEPTH / (SIDE / 2) times.
  let quads = 2u * SIDE;
  let threads = SIDE * SIDE;
  let lane = thread.y * SIDE + thread.x;
  let loads = quads * DEPTH / threads;  // 2 or 4

  var acc: array<vec4f, 16>;
  for (var k = kStart; k < kEnd; k += DEPTH) {
    workgroupBarrier();
    for (var i = 0u; i < loads; i++) {
      let at = i * threads + lane;
      let aPlace = select(vec2u(at % quads, at / quads), vec2u(at / DEPTH, at % DEPTH), A_K == 1u);
      aTile[slot(aPlace)] = aFour(aStart, row + 4u * aPlace.x, k + aPlace.y, kEnd);
      let bPlace = select(vec2u(at % quads, at / quads), vec2u(at / DEPTH, at % DEPTH), B_K == 1u);
      bTile[slot(bPlace)] = bFour(bStart, col + 4u * bPlace.x, k + bPlace.y, kEnd);
    }
    workgroupBarrier();
    for (var d = 0u; d < DEPTH; d++) {
      let a0 = aTile[slot(vec2u(thread.y, d))];
      let a1 = aTile[slot(vec2u(thread.y + SIDE, d))];
      let b0 = bTile[slot(vec2u(thread.x, d))];
      let b1 = bTile[slot(vec2u(thread.x + SIDE, d))];
      acc[0] += a0.x * b0;   acc[1] += a0.x * b1;
      acc[2] += a0.y * b0;   acc[3] += a0.y * b1;
      acc[4] += a0.z * b0;   acc[5] += a0.z * b1;
      acc[6] += a0.w * b0;   acc[7] += a0.w * b1;
      acc[8] += a1.x * b0;   acc[9] += a1.x * b1;
      acc[10] += a1.y * b0;  acc[11] += a1.y * b1;
      acc[12] += a1.z * b0;  acc[13] += a1.z * b1;
      acc[14] += a1.w * b0;  acc[15] += a1.w * b1;
    }
  }

  put(group.z, part, row + 4u * thread.y, col, thread.x, acc[0], acc[1]);
  put(group.z, part, row + 4u * thread.y + 1u, col, thread.x, acc[2], acc[3]);
  put(group.z, part, row + 4u * thread.y + 2u, col, thread.x, acc[4], acc[5]);
  put(group.z, part, row + 4u * thread.y + 3u, col, thread.x, acc[6], acc[7]);
  let below = row + 4u * SIDE;
  put(group.z, part, below + 4u * thread.y, col, thread.x, acc[8], acc[9]);
  put(group.z, part, below + 4u * thread.y + 1u, col, thread.x, acc[10], acc[11]);
  put(group.z, part, below + 4u * thread.y + 2u, col, thread.x, acc[12], acc[13]);
  put(group.z, part, below + 4u * thread.y + 3u, col, thread.x, acc[14], acc[15]);
}

/** Where a tile keeps four rows (or columns), the place.x-th four at the place.y-th k. */
fn slot(place: vec2u) -> u32 { return place.y * 2u * SIDE + (place.x ^ (place.y & 7u)); }

/** Four rows of a from `first` on at one k; past the last row that one again, past the last k zeros, which add nothing. */
fn aFour(start: u32, first: u32, k: u32, kEnd: u32) -> vec4f {
  if (k >= kEnd) { return vec4f(0.0); }
  let at = start + k * sizes[4] + min(first + vec4u(0u, 1u, 2u, 3u), vec4u(sizes[0] - 1u)) * sizes[3];
  return vec4f(aAt(at.x), aAt(at.y), aAt(at.z), aAt(at.w));
}

/** Four columns of b, likewise. */
fn bFour(start: u32, first: u32, k: u32, kEnd: u32) -> vec4f {
  if (k >= kEnd) { return vec4f(0.0); }
  let at = start + k * sizes[6] + min(first + vec4u(0u, 1u, 2u, 3u), vec4u(sizes[1] - 1u)) * sizes[7];
  return vec4f(bAt(at.x), bAt(at.y), bAt(at.z), bAt(at.w));
}

/** Stores a thread's columns of one row: four at col + 4 x, four behind the first half of the tile. */
fn put(z: u32, part: u32, m: u32, col: u32, x: u32, left: vec4f, right: vec4f) {
  if (m >= sizes[0]) { return; }
  putFour(z, part, m, col + 4u * x, left);
  putFour(z, part, m, col + 4u * (SIDE + x), right);
}

fn putFour(z: u32, part: u32, m: u32, n: u32, sums: vec4f) {
  let N = sizes[1];
  let at = (z * sizes[0] + m) * N + n;
  var y = sums;
  if (BIAS && part == 0u) {
    let last = vec4u(N - 1u);
    let cols = min(n + vec4u(0u, 1u, 2u, 3u), last);
    y += vec4f(bias[cols.x], bias[cols.y], bias[cols.z], bias[cols.w]);
  }
  if (n < N) { store(at, y.x); }
  if (n + 1u < N) { store(at + 1u, y.y); }
  if (n + 2u < N) { store(at + 2u, y.z); }
  if (n + 3u < N) { store(at + 3u, y.w); }
}
