// Shared by the backward kernels of layernorm that keep a row in registers: dx of a part of the rows, and the sums over them that
// make dGain, dBias and the columns' sums of dx. The including file binds x, gain, statistics, earlier, dx and sums, sets ROWS,
// COLS, PARTS, ADDS and LANES, and defines `dyAt` and `storeRounded`.
// include layernorm-kept-row
// include reduce

fn backwardOfRows(part: u32, lane: u32) {
  if (part >= PARTS) { return; }
  let fours = COLS / 4u;
  let rowsPerPart = (ROWS + PARTS - 1u) / PARTS;
  let end = min((part + 1u) * rowsPerPart, ROWS);
  var gainSums: array<vec4f, MOST>;
  var biasSums: array<vec4f, MOST>;
  var columnSums: array<vec4f, MOST>;

  for (var r = part * rowsPerPart; r < end; r++) {
    let row = r * fours;
    let mean = statistics[2u * r];
    let rstd = statistics[2u * r + 1u];
    var normed = array<vec4f, MOST>();
    var slopes = array<vec4f, MOST>();  // dy
    var before = array<vec4f, MOST>();
    for (var i = 0u; i < MOST; i++) {
      if (isNeeded(i)) {
        let at = row + placeInRow(i, lane);
        normed[i] = x[at];
        slopes[i] = dyAt(at);
        if (ADDS) { before[i] = earlier[at]; }
      }
    }
    var sumsG = vec4f(0.0);  // of g = dy * gain
    var sumsGX = vec4f(0.0);
    for (var i = 0u; i < MOST; i++) {
      if (isNeeded(i)) {
        normed[i] = (normed[i] - mean) * rstd;
        let g = select(vec4f(0.0), slopes[i] * gain[placeInRow(i, lane)], isInRow(i, lane));
        sumsG += g;
        sumsGX += g * normed[i];
      }
    }
    let meanG = workgroupSum(dot(sumsG, vec4f(1.0)), lane) / f32(COLS);
    let meanGX = workgroupSum(dot(sumsGX, vec4f(1.0)), lane) / f32(COLS);
    for (var i = 0u; i < MOST; i++) {
      if (isNeeded(i) && isInRow(i, lane)) {
        let c = placeInRow(i, lane);
        let d = before[i] + rstd * (slopes[i] * gain[c] - meanG - normed[i] * meanGX);
        dx[row + c] = d;
        storeRounded(row + c, d);
        gainSums[i] += slopes[i] * normed[i];
        biasSums[i] += slopes[i];
        columnSums[i] += d;
      }
    }
  }

  for (var i = 0u; i < MOST; i++) {
    if (isNeeded(i) && isInRow(i, lane)) {
      let at = part * 3u * fours + placeInRow(i, lane);
      sums[at] = gainSums[i];
      sums[at + fours] = biasSums[i];
      sums[at + 2u * fours] = columnSums[i];
    }
  }
}
