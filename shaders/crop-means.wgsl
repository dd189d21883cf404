// The mean luminance of each crop at the point where its contrast is changed, rounded to 8 bits as Pillow does.
//
//   levels      [crops, 3, PIXELS] f32: 0 to 255
//   parameters  [crops, 22] f32: see crop-parameters.wgsl
//   means       [crops] f32; 0 where no contrast is changed
//
// One workgroup a crop; its LANES threads stride over the pixels.
// include crop-adjust

override PIXELS: u32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> levels: array<f32>;
@group(0) @binding(1) var<storage, read> parameters: array<f32>;
@group(0) @binding(2) var<storage, read_write> means: array<f32>;

var<workgroup> sums: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let crop = group.y * grid.x + group.x;
  if (crop >= arrayLength(&means)) { return; }
  let at = crop * PARAMETERS;
  var contrastAt = 4u;
  for (var n = 0u; n < 4u; n++) {
    if (u32(parameters[at + ADJUST + n]) == CONTRAST) { contrastAt = n; }
  }
  if (contrastAt == 4u) {
    if (lane == 0u) { means[crop] = 0.0; }
    return;
  }
  var sum = 0u;  // whole numbers, exact for 16 million pixels
  for (var i = lane; i < PIXELS; i += LANES) {
    let red = crop * 3u * PIXELS + i;
    var rgb = vec3f(levels[red], levels[red + PIXELS], levels[red + 2u * PIXELS]);
    for (var n = 0u; n < contrastAt; n++) {
      rgb = adjust(rgb, u32(parameters[at + ADJUST + n]), parameters[at + FACTOR + n], 0.0);
    }
    sum += u32(luminance(rgb));
  }
  sums[lane] = sum;
  workgroupBarrier();
  if (lane != 0u) { return; }
  for (var t = 1u; t < LANES; t++) { sum += sums[t]; }
  means[crop] = floor(f32(sum) / f32(PIXELS) + 0.5);
}
