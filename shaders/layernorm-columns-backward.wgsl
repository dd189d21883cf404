// Shared by the kernels for the gradients of layernorm's gain and bias: 64 columns of a part of the rows, a thread a column.
// The including file binds x, statistics, dGain and dBias, sets ROWS, COLS, PARTS and LANES, and defines `dyAt`.

fn backwardOfColumns(g: u32, lane: u32) {
  let blocks = (COLS + LANES - 1u) / LANES;
  let part = g / blocks;
  let c = (g % blocks) * LANES + lane;
  if (part >= PARTS || c >= COLS) { return; }
  let rowsPerPart = (ROWS + PARTS - 1u) / PARTS;
  let end = min((part + 1u) * rowsPerPart, ROWS);
  var gain = 0.0;
  var bias = 0.0;
  for (var r = part * rowsPerPart; r < end; r++) {
    let d = dyAt(r * COLS + c);
    gain += d * (x[r * COLS + c] - statistics[2u * r]) * statistics[2u * r + 1u];
    bias += d;
  }
  dGain[part * COLS + c] = gain;
  dBias[part * COLS + c] = bias;
}
