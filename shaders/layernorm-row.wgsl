// Shared by the layernorm kernels: one row by LANES threads. The including file binds x, gain, bias and statistics, sets COLS,
// EPSILON and LANES, and defines `store`, which writes y.
// include reduce

fn normalizeRow(r: u32, lane: u32) {
  let row = r * COLS;

  var mean = 0.0;
  for (var c = lane; c < COLS; c += LANES) { mean += x[row + c]; }
  mean = workgroupSum(mean, lane) / f32(COLS);

  var variance = 0.0;
  for (var c = lane; c < COLS; c += LANES) {
    let d = x[row + c] - mean;
    variance += d * d;
  }
  variance = workgroupSum(variance, lane) / f32(COLS);
  let rstd = inverseSqrt(variance + EPSILON);

  for (var c = lane; c < COLS; c += LANES) { store(row + c, (x[row + c] - mean) * rstd * gain[c] + bias[c]); }
  if (lane == 0u) {
    statistics[2u * r] = mean;
    statistics[2u * r + 1u] = rstd;
  }
}
