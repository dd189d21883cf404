// Shared by the backward kernels of layernorm: one row of dx by LANES threads. The including file binds x, gain, statistics and
// dx, sets COLS and LANES, and defines `dyAt`.
// include reduce

fn backwardOfRow(r: u32, lane: u32) {
  let row = r * COLS;

  let mean = statistics[2u * r];
  let rstd = statistics[2u * r + 1u];

  var sumG = 0.0;
  var sumGX = 0.0;
  for (var c = lane; c < COLS; c += LANES) {
    let g = dyAt(row + c) * gain[c];
    sumG += g;
    sumGX += g * (x[row + c] - mean) * rstd;
  }
  sumG = workgroupSum(sumG, lane) / f32(COLS);
  sumGX = workgroupSum(sumGX, lane) / f32(COLS);

  for (var c = lane; c < COLS; c += LANES) {
    dx[row + c] = rstd * (dyAt(row + c) * gain[c] - sumG - (x[row + c] - mean) * rstd * sumGX);
  }
}
