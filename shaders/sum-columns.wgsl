// Shared by the kernels that sum rows: 64 columns of a part of the rows, a thread a column. The including file binds out, sets
// ROWS, COLS, PARTS and LANES, and defines `xAt`.

fn sumColumns(g: u32, lane: u32) {
  let blocks = (COLS + LANES - 1u) / LANES;
  let part = g / blocks;
  let c = (g % blocks) * LANES + lane;
  if (part >= PARTS || c >= COLS) { return; }
  let rowsPerPart = (ROWS + PARTS - 1u) / PARTS;
  let end = min((part + 1u) * rowsPerPart, ROWS);
  var total = 0.0;
  for (var r = part * rowsPerPart; r < end; r++) { total += xAt(r * COLS + c); }
  out[part * COLS + c] = total;
}
