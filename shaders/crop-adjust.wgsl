// Changes of colour with 8 bits after each, as Pillow makes them.
// include crop-parameters

const BRIGHTNESS = 1u;
const CONTRAST = 2u;
const SATURATION = 3u;
const HUE = 4u;

fn luminance(rgb: vec3f) -> f32 {
  let v = vec3u(rgb);
  return f32((19595u * v.x + 38470u * v.y + 7471u * v.z + 32768u) >> 16u);
}

/** One change; `mean` is the crop's mean luminance before it, for contrast. */
fn adjust(rgb: vec3f, change: u32, factor: f32, mean: f32) -> vec3f {
  switch change {
    case BRIGHTNESS: { return blend(0.0, rgb, factor); }
    case CONTRAST: { return blend(mean, rgb, factor); }
    case SATURATION: { return blend(luminance(rgb), rgb, factor); }
    case HUE: { return turnHue(rgb, factor); }
    default: { return rgb; }
  }
}

fn blend(other: f32, rgb: vec3f, factor: f32) -> vec3f {
  return floor(clamp(other + factor * (rgb - other), vec3f(0.0), vec3f(255.0)));
}

/** Turns the colour circle through 8-bit hue, saturation and value. */
fn turnHue(rgb: vec3f, factor: f32) -> vec3f {
  let high = max(rgb.x, max(rgb.y, rgb.z));
  let low = min(rgb.x, min(rgb.y, rgb.z));
  if (high == low) { return rgb; }
  let range = high - low;
  let saturation = trunc(range / high * 255.0);
  if (saturation == 0.0) { return vec3f(high); }
  let away = (high - rgb) / range;
  var sextant = 4.0 + away.y - away.x;
  if (rgb.x == high) { sextant = away.z - away.y; } else if (rgb.y == high) { sextant = 2.0 + away.x - away.z; }
  let turns = sextant / 6.0 + 1.0;
  let hue = (i32(trunc(select(turns, turns - 1.0, turns >= 1.0) * 255.0)) + i32(trunc(factor * 255.0))) & 255;

  let sector = hue * 6 / 255;
  let rest = f32(hue * 6) / 255.0 - f32(sector);
  let share = saturation / 255.0;
  let p = trunc(high * (1.0 - share) + 0.5);
  let q = trunc(high * (1.0 - share * rest) + 0.5);
  let t = trunc(high * (1.0 - share * (1.0 - rest)) + 0.5);
  switch sector {
    case 1: { return vec3f(q, high, p); }
    case 2: { return vec3f(p, high, t); }
    case 3: { return vec3f(p, q, high); }
    case 4: { return vec3f(t, p, high); }
    case 5: { return vec3f(high, p, q); }
    default: { return vec3f(high, t, p); }
  }
}
