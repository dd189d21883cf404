// The sigmoid, and the derivative of silu(x) = x * sigmoid(x), of fours.

fn sigmoid(x: vec4f) -> vec4f { return 1.0 / (1.0 + exp(-x)); }

fn siluSlope(x: vec4f) -> vec4f {
  let s = sigmoid(x);
  return s * (1.0 + x * (1.0 - s));
}
