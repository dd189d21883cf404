// Changes each crop's colours as it was drawn for it, in place: up to four changes in turn, then gray.
//
//   parameters  [crops, 22] f32: see crop-parameters.wgsl
//   means       [crops] f32: mean luminance for the change of contrast
//   levels      [crops, 3, PIXELS] f32: 0 to 255
//
// One thread a pixel.
// include crop-adjust
// include element

override PIXELS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> parameters: array<f32>;
@group(0) @binding(1) var<storage, read> means: array<f32>;
@group(0) @binding(2) var<storage, read_write> levels: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&levels) / 3u) { return; }
  let crop = i / PIXELS;
  let at = crop * PARAMETERS;
  let red = crop * 3u * PIXELS + i % PIXELS;
  var rgb = vec3f(levels[red], levels[red + PIXELS], levels[red + 2u * PIXELS]);
  for (var n = 0u; n < 4u; n++) {
    rgb = adjust(rgb, u32(parameters[at + ADJUST + n]), parameters[at + FACTOR + n], means[crop]);
  }
  if (parameters[at + GRAY] > 0.0) { rgb = vec3f(luminance(rgb)); }
  levels[red] = rgb.x;
  levels[red + PIXELS] = rgb.y;
  levels[red + 2u * PIXELS] = rgb.z;
}
