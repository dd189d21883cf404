// Changes brightness and contrast of each channel of a crop on its own, in place, with 8 bits after each.
//
//   changes     [crops, channels, 3] f32: 1 if contrast is changed first, the factor of brightness, that of contrast
//   levels      [crops, channels, PIXELS] f32: 0 to 255
//
// One workgroup a channel of a crop; its LANES threads stride over the pixels.

override PIXELS: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> changes: array<f32>;
@group(0) @binding(1) var<storage, read_write> levels: array<f32>;

var<workgroup> sums: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let plane = group.y * grid.x + group.x;
  if (plane >= arrayLength(&changes) / 3u) { return; }
  let contrastFirst = changes[plane * 3u] > 0.0;
  let brightness = changes[plane * 3u + 1u];
  let contrast = changes[plane * 3u + 2u];
  let start = plane * PIXELS;
  var sum = 0u;  // whole numbers, exact for 16 million pixels
  for (var i = lane; i < PIXELS; i += LANES) {
    let x = levels[start + i];
    sum += u32(select(blend(0.0, x, brightness), x, contrastFirst));
  }
  sums[lane] = sum;
  workgroupBarrier();
  var all = 0u;
  for (var t = 0u; t < LANES; t++) { all += sums[t]; }
  let mean = floor(f32(all) / f32(PIXELS) + 0.5);
  for (var i = lane; i < PIXELS; i += LANES) {
    let x = levels[start + i];
    levels[start + i] = select(
      blend(mean, blend(0.0, x, brightness), contrast),
      blend(0.0, blend(mean, x, contrast), brightness),
      contrastFirst,
    );
  }
}

fn blend(other: f32, x: f32, factor: f32) -> f32 {
  return floor(clamp(other + factor * (x - other), 0.0, 255.0));
}
