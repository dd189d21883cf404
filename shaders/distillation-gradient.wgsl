// The gradient of the student's logits, for files that bind what distillation-backward.wgsl does, set its constants, and define
// `store`, which writes an element of dStudent.

const LANES = 64u;

/** The elements of row r that belong to a thread. */
fn differentiate(r: u32, lane: u32) {
  let row = r * COLS;
  let crop = FIRST_CROP + r / BATCH;
  let image = r % BATCH;
  let others = f32(select(VIEWS, VIEWS - 1u, crop < VIEWS));
  let largest = statistics[2u * r];
  let total = statistics[2u * r + 1u];
  let factor = dLosses[r] * WEIGHT / TEMPERATURE;

  for (var c = lane; c < COLS; c += LANES) {
    var q = 0.0;
    for (var v = 0u; v < VIEWS; v++) {
      if (v != crop) { q += targets[(v * BATCH + image) * COLS + c]; }
    }
    let p = exp((student[row + c] - largest) / TEMPERATURE) / total;
    store(row + c, factor * (others * p - q));
  }
}
