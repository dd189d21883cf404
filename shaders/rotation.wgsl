// Shared by the kernels of rotary positions: the i-th pair of a tensor, whose second element lies `half` elements behind the first. The
// including file binds y, cosines and sines, sets TOKENS, PATCHES, HEADS and SIGN, and defines `xAt` and `store`, which writes y.

fn rotatePair(i: u32, half: u32) {
  let at = i / half * 2u * half + i % half;
  if (at >= arrayLength(&y)) { return; }
  let a = xAt(at);
  let b = xAt(at + half);
  let head = i / half % (3u * HEADS);
  let token = i / (half * 3u * HEADS) % TOKENS;
  if (head >= 2u * HEADS || token < TOKENS - PATCHES) {
    store(at, a);
    store(at + half, b);
    return;
  }
  let place = (token + PATCHES - TOKENS) * half + i % half;
  let cosine = cosines[place];
  let sine = SIGN * sines[place];
  store(at, a * cosine - b * sine);
  store(at + half, b * cosine + a * sine);
}
