// dImages of patches.wgsl: each pixel takes its patch element's gradient, pixels outside the last whole patch take 0.
//
//   dPatches  [batch, (ROWS / PATCH) * (COLS / PATCH), CHANNELS * PATCH * PATCH] f32
//   dImages   [batch, CHANNELS, ROWS, COLS] f32
//
// One thread an element of dImages.
// include element

override CHANNELS: u32;
override ROWS: u32;
override COLS: u32;
override PATCH: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> dPatches: array<f32>;
@group(0) @binding(1) var<storage, read_write> dImages: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&dImages)) { return; }
  let x = i % COLS;
  let y = i / COLS % ROWS;
  let channel = i / (COLS * ROWS) % CHANNELS;
  let image = i / (COLS * ROWS * CHANNELS);
  let across = COLS / PATCH;
  let down = ROWS / PATCH;
  let px = x / PATCH;
  let py = y / PATCH;
  if (px >= across || py >= down) {
    dImages[i] = 0.0;
    return;
  }
  let position = (image * down + py) * across + px;
  dImages[i] = dPatches[((position * CHANNELS + channel) * PATCH + y % PATCH) * PATCH + x % PATCH];
}
