// erf, the standard normal distribution function and the derivative of GELU, to about an ulp of f32.

// Minimax polynomials after N. Juffa: erf(a) / a - 1 near zero, log(1 - erf(a)) beyond.
fn erf(a: f32) -> f32 {
  let t = abs(a);
  let s = a * a;
  if (t <= 0.927734375) {
    var r = -5.96761703e-4;
    r = fma(r, s, 4.99119423e-3);
    r = fma(r, s, -2.67681349e-2);
    r = fma(r, s, 1.12819925e-1);
    r = fma(r, s, -3.76125336e-1);
    r = fma(r, s, 1.28379166e-1);
    return fma(r, a, a);
  }
  let c = min(t, 4.0);  // erf(4) is 1 in f32
  let u = fma(-3.88396438e-3, c, 2.42546219e-2);
  var r = fma(-1.72853470e-5, c, 3.83197126e-4);
  r = fma(r, c * c, u);
  r = fma(r, c, -1.06777877e-1);
  r = fma(r, c, -6.34846687e-1);
  r = fma(r, c, -1.28717512e-1);
  r = fma(r, c, -c);
  return sign(a) * (1.0 - exp(r));
}

fn normalCdf(x: f32) -> f32 { return 0.5 + 0.5 * erf(x * 0.7071067811865476); }

// Phi(x) + x * phi(x), phi the density of the standard normal.
fn geluSlope(x: f32) -> f32 { return normalCdf(x) + x * 0.3989422804014327 * exp(-0.5 * min(x * x, 160.0)); }
