// out = x in blocks of half the size, see `blocks.wgsl`.
//
//   x    [ELEMENTS] f32
//   out  [blocks, WORDS] u32: as many blocks as there are, the last ones holding zeros beyond the elements
//
// One thread a block.
// include element
// include blocks

override ELEMENTS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

fn elementAt(i: u32) -> f32 {
  if (i >= ELEMENTS) { return 0.0; }
  return x[i];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let block = elementOf(group, grid, lane);
  if (block >= arrayLength(&out) / WORDS) { return; }
  let first = block * BLOCK;
  var largest = 0.0;
  var finite = true;
  for (var i = 0u; i < BLOCK; i++) {
    let value = elementAt(first + i);
    largest = max(largest, abs(value));
    finite = finite && isFinite(value);
  }
  out[block * WORDS] = select(NOT_FINITE, bitcast<u32>(largest), finite);
  for (var i = 0u; i < BLOCK; i += 2u) {
    let word = shares(elementAt(first + i), elementAt(first + i + 1u), largest);
    out[block * WORDS + 1u + i / 2u] = select(0u, word, finite);
  }
}
