// y = x, which is in blocks, see `blocks.wgsl`; infinite where the block is not finite.
//
//   x  [blocks, WORDS] u32
//   y  [ELEMENTS] f32
//
// One thread a block.
// include element
// include blocks

override ELEMENTS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let block = elementOf(group, grid, lane);
  if (block >= arrayLength(&x) / WORDS) { return; }
  let top = x[block * WORDS];
  for (var i = 0u; i < BLOCK; i++) {
    let at = block * BLOCK + i;
    if (at >= ELEMENTS) { return; }
    let pair = numbers(x[block * WORDS + 1u + i / 2u], bitcast<f32>(top));
    let number = select(pair.x, pair.y, i % 2u == 1u);
    y[at] = select(number, bitcast<f32>(top), top == NOT_FINITE);
  }
}
