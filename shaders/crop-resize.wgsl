// Cuts windows out of pictures and resizes them, bicubic with a = -0.5 and antialias as Pillow does it: along the rows first,
// then along the columns, each rounded to 8 bits.
//
//   pixels      [pictures, PIXELS] u32: red, green and blue in the lowest three bytes, a picture's rows one after the other
//   parameters  [crops, 18] f32: see crop-parameters.wgsl
//   levels      [crops, 3, ROWS, COLS] f32: 0 to 255
//
// One thread a pixel of a crop.
// include crop-parameters
// include element

override PIXELS: u32;
override ROWS: u32;
override COLS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> pixels: array<u32>;
@group(0) @binding(1) var<storage, read> parameters: array<f32>;
@group(0) @binding(2) var<storage, read_write> levels: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  let size = ROWS * COLS;
  if (i >= arrayLength(&levels) / 3u) { return; }
  let crop = i / size;
  let at = crop * PARAMETERS;
  let row = i % size / COLS;
  let col = i % COLS;
  let mirrored = select(col, COLS - 1u - col, parameters[at + FLIP] > 0.0);

  let down = taps(row, ROWS, parameters[at + HEIGHT]);
  let across = taps(mirrored, COLS, parameters[at + WIDTH]);
  let stride = u32(parameters[at + STRIDE]);
  let start = u32(parameters[at + SLOT]) * PIXELS + u32(parameters[at + TOP]) * stride + u32(parameters[at + LEFT]);
  var sum = vec3f(0.0);
  var weights = 0.0;
  for (var y = down.first; y < down.end; y++) {
    var alongRow = vec3f(0.0);
    var rowWeights = 0.0;
    for (var x = across.first; x < across.end; x++) {
      let w = cubic((f32(x) + 0.5 - across.center) * across.inverse);
      let p = pixels[start + y * stride + x];
      alongRow += w * vec3f(f32(p & 255u), f32((p >> 8u) & 255u), f32((p >> 16u) & 255u));
      rowWeights += w;
    }
    let w = cubic((f32(y) + 0.5 - down.center) * down.inverse);
    sum += w * level(alongRow / rowWeights);
    weights += w;
  }
  let y = level(sum / weights);
  let out = crop * 3u * size + i % size;
  levels[out] = y.x;
  levels[out + size] = y.y;
  levels[out + 2u * size] = y.z;
}

/** The pixels that one of a crop is made of, and what turns their distance from its center into steps of the filter. */
struct Taps {
  first: u32,
  end: u32,
  center: f32,
  inverse: f32,
}

fn taps(i: u32, size: u32, extent: f32) -> Taps {
  let scale = extent / f32(size);
  let step = max(scale, 1.0);
  let center = (f32(i) + 0.5) * scale;
  let first = max(i32(center - 2.0 * step + 0.5), 0);
  let end = min(i32(center + 2.0 * step + 0.5), i32(extent));
  return Taps(u32(first), u32(end), center, 1.0 / step);
}

fn cubic(distance: f32) -> f32 {
  let t = abs(distance);
  if (t < 1.0) { return (1.5 * t - 2.5) * t * t + 1.0; }
  if (t < 2.0) { return ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0; }
  return 0.0;
}

fn level(x: vec3f) -> vec3f { return clamp(floor(x + 0.5), vec3f(0.0), vec3f(255.0)); }
