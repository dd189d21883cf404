// The K largest numbers of each row with their columns, the largest first, of equal ones the earlier; a NaN is none of them. Those
// of earlier columns are given, so that a row may come in tiles.
//
//   x             [rows, COLS] f32: columns FIRST to FIRST + COLS
//   foundValues   [rows, K] f32: the largest of columns 0 to FIRST, and
//   foundColumns  [rows, K] u32: their columns; both are unread where FIRST is 0
//   sizes         [2] u32: COLS, FIRST
//   values        [rows, K] f32, and
//   columns       [rows, K] u32: LOWEST and NONE where fewer than K numbers above LOWEST came
//
// One workgroup per row. Its threads stride over a chunk of columns and append what exceeds the K-th largest so far, which costs one
// comparison where nothing does. The candidates are then sorted by a bitonic network (Batcher 1968). Chunks double: as many columns
// as came before have about K ln 2 candidates. A chunk with more than there is room for is scanned again in parts.

override K: u32;
override KEPT: u32;  // candidates that stay sorted: the power of two from K on
override CAPACITY: u32;  // candidates that fit, a power of two and at least 2 KEPT
override LANES: u32;  // chosen by the engine for the adapter
const LOWEST = -3.0e38;
const NONE = 0xffffffffu;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> foundValues: array<f32>;
@group(0) @binding(2) var<storage, read> foundColumns: array<u32>;
@group(0) @binding(3) var<storage, read> sizes: array<u32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;
@group(0) @binding(5) var<storage, read_write> columns: array<u32>;

var<workgroup> candidates: array<f32, CAPACITY>;  // KEPT sorted ones, the K largest so far first, then those appended
var<workgroup> places: array<u32, CAPACITY>;  // their columns
var<workgroup> appended: array<atomic<u32>, 1>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * grid.x + group.x;  // a grid axis holds 65535 groups, so rows fold into two
  if (r * K >= arrayLength(&values)) { return; }
  let COLS = sizes[0];
  let FIRST = sizes[1];
  for (var i = lane; i < KEPT; i += LANES) {
    candidates[i] = LOWEST;
    places[i] = NONE;
    if (FIRST > 0u && i < K) {
      candidates[i] = foundValues[r * K + i];
      places[i] = foundColumns[r * K + i];
    }
  }
  if (lane == 0u) { atomicStore(&appended[0], 0u); }
  workgroupBarrier();

  let room = CAPACITY - KEPT;
  var size = max(K, FIRST);
  var start = 0u;
  while (start < COLS) {
    let end = min(start + size, COLS);
    let least = candidates[K - 1u];
    for (var c = start + lane; c < end; c += 4u * LANES) {
      let four = c + LANES * vec4u(0u, 1u, 2u, 3u);
      let at = r * COLS + min(four, vec4u(COLS - 1u));
      let read = vec4f(x[at.x], x[at.y], x[at.z], x[at.w]);
      let isLarge = (read > vec4f(least)) & (four < vec4u(end));
      if (any(isLarge)) {
        for (var i = 0u; i < 4u; i++) {
          if (isLarge[i]) { append(read[i], FIRST + four[i], room); }
        }
      }
    }
    let count = workgroupUniformLoad(&appended[0]);
    if (count > 0u && lane == 0u) { atomicStore(&appended[0], 0u); }
    if (count > room) {
      size = max(room, size / 2u);
      workgroupBarrier();
      continue;
    }
    if (count > 0u) { keepLargest(KEPT + count, lane); }
    start = end;
    size *= 2u;
  }

  for (var i = lane; i < K; i += LANES) {
    values[r * K + i] = candidates[i];
    columns[r * K + i] = places[i];
  }
}

fn append(value: f32, column: u32, room: u32) {
  if ((bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u) { return; }  // a NaN, of which comparisons may say anything
  let slot = atomicAdd(&appended[0], 1u);
  if (slot >= room) { return; }
  candidates[KEPT + slot] = value;
  places[KEPT + slot] = column;
}

/** Sorts the first KEPT of `count` candidates, of which the first KEPT are sorted among themselves. */
fn keepLargest(count: u32, lane: u32) {
  let size = 1u << (32u - countLeadingZeros(count - 1u));
  for (var span = 2u; span <= size; span *= 2u) {
    let firstPair = select(0u, KEPT / 2u, span <= KEPT);  // those before are sorted
    for (var step = span / 2u; step > 0u; step /= 2u) {
      let pairs = select(size / 2u, max(KEPT / 2u, step), span == size);  // at last, those behind are not needed
      for (var i = firstPair + lane; i < pairs; i += LANES) {
        let first = 2u * i - (i & (step - 1u));
        let second = select(first ^ step, first ^ (span - 1u), step == span / 2u);  // sorted runs meet end to end
        if (second < count) { order(first, second); }  // behind `count` nothing is as if the smallest were
      }
      workgroupBarrier();
    }
  }
}

/** Exchanges two candidates if the second is larger, or equal and of an earlier column. */
fn order(first: u32, second: u32) {
  let a = candidates[first];
  let b = candidates[second];
  let i = places[first];
  let j = places[second];
  if (b > a || (b == a && j < i)) {
    candidates[first] = b;
    candidates[second] = a;
    places[first] = j;
    places[second] = i;
  }
}
