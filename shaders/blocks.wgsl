// Numbers in blocks of BLOCK: the largest magnitude of a block as f32, in the first of its WORDS, and behind it each number as a
// share of that in f16, two in a word; 5e-4 of a number is lost at most, where it is above 2^-29 of the largest. A block with a
// number that is not finite has that in the place of the largest.
// include finite

const BLOCK = 64u;
const WORDS = 1u + BLOCK / 2u;
const TOP = 32768.0;  // of f16, so that small numbers keep their precision
const NOT_FINITE = 0x7f800000u;

fn shares(a: f32, b: f32, largest: f32) -> u32 {
  return pack2x16float(vec2f(a, b) / max(largest, 1e-30) * TOP);
}

fn numbers(word: u32, largest: f32) -> vec2f { return unpack2x16float(word) / TOP * largest; }
