// Sums and maxima over a workgroup of LANES threads, in a fixed order. The including file sets LANES, a power of two.
// Every lane gets the result; every lane of the workgroup must call.

var<workgroup> scratch: array<f32, LANES>;

fn workgroupSum(value: f32, lane: u32) -> f32 {
  scratch[lane] = value;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { scratch[lane] += scratch[lane + half]; }
  }
  workgroupBarrier();
  let total = scratch[0];
  workgroupBarrier();
  return total;
}

fn workgroupMax(value: f32, lane: u32) -> f32 {
  scratch[lane] = value;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { scratch[lane] = max(scratch[lane], scratch[lane + half]); }
  }
  workgroupBarrier();
  let largest = scratch[0];
  workgroupBarrier();
  return largest;
}
