// Shared by the forwards of attention: the log-sum-exp of a query's scores.
// include finite

/**
 * The log-sum-exp from the largest score and the total of exp(score - largest). A maximum loses a NaN, the total keeps it; NaN
 * then, and where scores are infinite, so that the backward sees it too.
 */
fn logSumExp(largest: f32, total: f32) -> f32 {
  let found = largest + log(total);
  return orNaN(found, isFinite(total) && isFinite(found));
}
