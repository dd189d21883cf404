// Cuts windows out of pictures and resizes them, bicubic with a = -0.5 and antialias as Pillow does it: along the rows first,
// then along the columns, each rounded to 8 bits. Pixels of a turned window are interpolated between those of the picture, and
// rounded to 8 bits, before it is resized.
//
//   pixels      [pictures, words, PIXELS] u32: three channels in the lowest three bytes of a word, a picture's rows one after the other
//   parameters  [crops, 22] f32: see crop-parameters.wgsl
//   levels      [crops, CHANNELS, ROWS, COLS] f32: 0 to 255
//
// One thread a pixel of three channels of a crop.
// include crop-parameters
// include element

override PIXELS: u32;
override CHANNELS: u32;
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
  let words = (CHANNELS + 2u) / 3u;
  if (i >= arrayLength(&levels) / CHANNELS * words) { return; }
  let crop = i / size / words;
  let word = i / size % words;
  let at = crop * PARAMETERS;
  let row = i % size / COLS;
  let col = i % COLS;
  let flippedRow = select(row, ROWS - 1u - row, parameters[at + FLIP_VERTICAL] > 0.0);
  let flippedCol = select(col, COLS - 1u - col, parameters[at + FLIP] > 0.0);

  let down = taps(flippedRow, ROWS, parameters[at + HEIGHT]);
  let across = taps(flippedCol, COLS, parameters[at + WIDTH]);
  let window = windowOf(at, words, word);
  var sum = vec3f(0.0);
  var weights = 0.0;
  for (var y = down.first; y < down.end; y++) {
    var alongRow = vec3f(0.0);
    var rowWeights = 0.0;
    for (var x = across.first; x < across.end; x++) {
      let w = cubic((f32(x) + 0.5 - across.center) * across.inverse);
      alongRow += w * windowPixel(window, x, y);
      rowWeights += w;
    }
    let w = cubic((f32(y) + 0.5 - down.center) * down.inverse);
    sum += w * level(alongRow / rowWeights);
    weights += w;
  }
  let y = level(sum / weights);
  let channel = 3u * word;
  let out = (crop * CHANNELS + channel) * size + i % size;
  levels[out] = y.x;
  if (channel + 1u < CHANNELS) { levels[out + size] = y.y; }
  if (channel + 2u < CHANNELS) { levels[out + 2u * size] = y.z; }
}

/** A window of a picture; its pixel (x, y) lies at first + x * (cos, sin) + y * (-sin, cos). */
struct Window {
  start: u32,
  stride: u32,
  first: vec2f,
  last: vec2f,  // pixel of the picture
  cos: f32,
  sin: f32,
}

fn windowOf(at: u32, words: u32, word: u32) -> Window {
  let stride = parameters[at + STRIDE];
  return Window(
    (u32(parameters[at + SLOT]) * words + word) * PIXELS,
    u32(stride),
    vec2f(parameters[at + LEFT], parameters[at + TOP]),
    vec2f(stride, parameters[at + HIGH]) - 1.0,
    parameters[at + COS],
    parameters[at + SIN],
  );
}

fn windowPixel(window: Window, x: u32, y: u32) -> vec3f {
  let step = f32(x) * vec2f(window.cos, window.sin) + f32(y) * vec2f(-window.sin, window.cos);
  let p = clamp(window.first + step, vec2f(0.0), window.last);
  let low = floor(p);
  let share = p - low;
  if (all(share == vec2f(0.0))) { return picturePixel(window, low); }  // no turn, or by quarters
  let high = min(low + 1.0, window.last);
  let upper = mix(picturePixel(window, low), picturePixel(window, vec2f(high.x, low.y)), share.x);
  let lower = mix(picturePixel(window, vec2f(low.x, high.y)), picturePixel(window, high), share.x);
  return level(mix(upper, lower, share.y));
}

fn picturePixel(window: Window, p: vec2f) -> vec3f {
  let word = pixels[window.start + u32(p.y) * window.stride + u32(p.x)];
  return vec3f(f32(word & 255u), f32((word >> 8u) & 255u), f32((word >> 16u) & 255u));
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
