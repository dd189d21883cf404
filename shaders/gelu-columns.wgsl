// Shared by the backward kernels of GELU for rows of whole fours: dx of LANES fours of columns of a part of the rows, and its sums
// over them, a thread a four of columns and two rows at a time, whose loads do not wait for each other. The including file binds
// sums, sets ROWS, COLS, PARTS and LANES, and defines `xAt`, `dyAt` and `store`, which writes dx.
// include erf

fn backwardOfColumns(g: u32, lane: u32) {
  let fours = COLS / 4u;
  let blocks = (fours + LANES - 1u) / LANES;
  let part = g / blocks;
  let c = (g % blocks) * LANES + lane;
  if (part >= PARTS || c >= fours) { return; }
  let rowsPerPart = (ROWS + PARTS - 1u) / PARTS;
  let end = min((part + 1u) * rowsPerPart, ROWS);
  var total = vec4f(0.0);
  var r = part * rowsPerPart;
  for (; r + 1u < end; r += 2u) {
    let i = r * fours + c;
    let upper = dyAt(i) * slopeAt(xAt(i));
    let lower = dyAt(i + fours) * slopeAt(xAt(i + fours));
    store(i, upper);
    store(i + fours, lower);
    total += upper + lower;
  }
  if (r < end) {
    let i = r * fours + c;
    let last = dyAt(i) * slopeAt(xAt(i));
    store(i, last);
    total += last;
  }
  sums[part * fours + c] = total;
}

fn slopeAt(x: vec4f) -> vec4f { return vec4f(geluSlope(x.x), geluSlope(x.y), geluSlope(x.z), geluSlope(x.w)); }
