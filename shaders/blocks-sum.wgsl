// out = the sum of several tensors in blocks, see `blocks.wgsl`, added up in f32.
//
//   x    [PIECES, blocks, WORDS] u32
//   out  [blocks, WORDS] u32
//
// One thread a block.
// include element
// include blocks

override PIECES: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

fn pairOf(block: u32, pair: u32) -> vec2f {
  let words = arrayLength(&out);
  var total = vec2f(0.0);
  for (var piece = 0u; piece < PIECES; piece++) {
    let start = piece * words + block * WORDS;
    total += numbers(x[start + 1u + pair], bitcast<f32>(x[start]));
  }
  return total;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let block = elementOf(group, grid, lane);
  let words = arrayLength(&out);
  if (block >= words / WORDS) { return; }
  var finite = true;
  for (var piece = 0u; piece < PIECES; piece++) { finite = finite && x[piece * words + block * WORDS] != NOT_FINITE; }
  var largest = 0.0;
  for (var pair = 0u; pair < BLOCK / 2u; pair++) {
    let total = abs(pairOf(block, pair));
    finite = finite && isFinite(total.x) && isFinite(total.y);
    largest = max(largest, max(total.x, total.y));
  }
  out[block * WORDS] = select(NOT_FINITE, bitcast<u32>(largest), finite);
  for (var pair = 0u; pair < BLOCK / 2u; pair++) {
    let total = pairOf(block, pair);
    out[block * WORDS + 1u + pair] = select(0u, shares(total.x, total.y, largest), finite);
  }
}
