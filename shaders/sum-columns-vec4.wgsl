// Shared by the kernels that sum rows of whole fours: LANES fours of columns of a part of the rows, a thread a four of columns and
// four rows at a time, whose loads do not wait for each other. The including file binds out, sets ROWS, COLS, PARTS and LANES, and
// defines `xAt`.

fn sumColumns(g: u32, lane: u32) {
  let fours = COLS / 4u;
  let blocks = (fours + LANES - 1u) / LANES;
  let part = g / blocks;
  let c = (g % blocks) * LANES + lane;
  if (part >= PARTS || c >= fours) { return; }
  let rowsPerPart = (ROWS + PARTS - 1u) / PARTS;
  let end = min((part + 1u) * rowsPerPart, ROWS);
  var total = vec4f(0.0);
  var r = part * rowsPerPart;
  for (; r + 3u < end; r += 4u) {
    let i = r * fours + c;
    total += (xAt(i) + xAt(i + fours)) + (xAt(i + 2u * fours) + xAt(i + 3u * fours));
  }
  for (; r < end; r++) { total += xAt(r * fours + c); }
  out[part * fours + c] = total;
}
