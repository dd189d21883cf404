// Shared by the control kernels of all optimizers; each holds two rows of `tensors` for a trained tensor: its first segment, its
// number of segments, these flags, and where its step count lies; the first segment and the number of segments of the tensors
// that it is clipped with, and the bits of the factor of its learning rate. The including file binds `frozen`
// and sets SCALED: whether it holds a verdict on the whole step, [3] f32: frozen, skipped, 1 / loss scale.

const DECAYED = 1u;  // weight decay applies
const FREEZES = 2u;  // skipped altogether while `frozen` is 1
const ADAPTED = 4u;  // LARS scales its step to the length of the tensor
const HALTS = 8u;    // the learning rate is 0 while `frozen` is 1

fn skips(flags: u32) -> bool {
  return ((flags & FREEZES) != 0u && frozen[0] != 0.0) || (SCALED && frozen[1] != 0.0);
}

// The learning rate of a tensor.
fn rateOf(flags: u32, factor: u32, lr: f32) -> f32 {
  if ((flags & HALTS) != 0u && frozen[0] != 0.0) { return 0.0; }
  return lr * bitcast<f32>(factor);
}

// Inverse of the loss scale.
fn unscale() -> f32 {
  if (SCALED) { return frozen[2]; }
  return 1.0;
}

// The factor that brings a gradient down to the length `clip`; 1 for shorter ones and where clip is 0.
fn clipFactor(norm: f32, clip: f32) -> f32 {
  if (clip == 0.0) { return 1.0; }
  return min(clip / (norm + 1e-6), 1.0);
}

// 1 - base^exponent, given log(base) <= 0: by its series near 0, where the subtraction would lose digits.
fn oneMinusPower(logBase: f32, exponent: f32) -> f32 {
  let x = logBase * exponent;
  if (x < -1.0) { return 1.0 - exp(max(x, -87.0)); }
  var series = 1.0;
  for (var n = 12.0; n > 1.0; n -= 1.0) { series = 1.0 + series * x / n; }
  return -x * series;
}
