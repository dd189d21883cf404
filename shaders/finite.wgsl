// Tests of numbers for NaN and infinity by exponent bits: a compiler may assume x == x, and max, min and clamp may return their
// other operand for a NaN.

fn isFinite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

/** x where it is valid, else a NaN. */
fn orNaN(x: f32, valid: bool) -> f32 { return bitcast<f32>(select(0x7fc00000u, bitcast<u32>(x), valid)); }
