// Cuts images into patches: out[b, (py, px), (channel, y, x)] = images[b, channel, py * PATCH + y, px * PATCH + x].
// The order inside a patch is that of the official convolution's weight [dim, channels, PATCH, PATCH].
//
//   images  [batch, CHANNELS, ROWS, COLS] f32; rows and columns beyond the last whole patch are left out
//   out     [batch, (ROWS / PATCH) * (COLS / PATCH), CHANNELS * PATCH * PATCH] f32
//
// One thread an element of out.
// include element

override CHANNELS: u32;
override ROWS: u32;
override COLS: u32;
override PATCH: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> images: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&out)) { return; }
  let x = i % PATCH;
  let y = i / PATCH % PATCH;
  let channel = i / (PATCH * PATCH) % CHANNELS;
  let position = i / (PATCH * PATCH * CHANNELS);  // over the batch
  let across = COLS / PATCH;
  let down = ROWS / PATCH;
  let px = position % across;
  let py = position / across % down;
  let image = position / (across * down);
  out[i] = images[((image * CHANNELS + channel) * ROWS + py * PATCH + y) * COLS + px * PATCH + x];
}
