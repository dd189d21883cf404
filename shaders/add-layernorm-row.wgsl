// Shared by the kernels that add a branch and normalise the sum: one row by LANES threads, which keep it in registers. The
// including file binds x, gain, bias, sum and statistics, sets COLS, EPSILON and LANES, and defines `branchAt` and `store`.
// include layernorm-kept-row
// include reduce

fn addAndNormalize(r: u32, lane: u32) {
  let row = r * (COLS / 4u);
  var kept: array<vec4f, MOST>;
  for (var i = 0u; i < MOST; i++) {
    if (isNeeded(i)) {
      let at = row + placeInRow(i, lane);
      kept[i] = x[at] + branchAt(at);
    }
  }

  var sums = vec4f(0.0);
  for (var i = 0u; i < MOST; i++) { sums += select(vec4f(0.0), kept[i], isInRow(i, lane)); }
  let mean = workgroupSum(dot(sums, vec4f(1.0)), lane) / f32(COLS);

  var squares = vec4f(0.0);
  for (var i = 0u; i < MOST; i++) {
    let d = select(vec4f(0.0), kept[i] - mean, isInRow(i, lane));
    squares += d * d;
  }
  let rstd = inverseSqrt(workgroupSum(dot(squares, vec4f(1.0)), lane) / f32(COLS) + EPSILON);

  for (var i = 0u; i < MOST; i++) {
    if (isInRow(i, lane)) {
      let c = i * LANES + lane;
      sum[row + c] = kept[i];
      store(row + c, (kept[i] - mean) * rstd * gain[c] + bias[c]);
    }
  }
  if (lane == 0u) {
    statistics[2u * r] = mean;
    statistics[2u * r + 1u] = rstd;
  }
}
