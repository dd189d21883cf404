// Sums and maxima over a workgroup of LANES threads in subgroups of any width: reduce.wgsl with two barriers instead of one for each
// halving. The engine takes it in place of that where a GPU has subgroups.
// Every lane gets the result; every lane of the workgroup must call. The order of a sum is the adapter's own, the same each time.

enable subgroups;

var<workgroup> scratch: array<f32, LANES>;

fn workgroupSum(value: f32, lane: u32) -> f32 {
  let own = subgroupAdd(value);
  scratch[lane] = select(0.0, own, subgroupElect());  // one addend a subgroup
  workgroupBarrier();
  let width = subgroupAdd(1u);
  var rest = 0.0;
  for (var i = subgroupExclusiveAdd(1u); i < LANES; i += width) { rest += scratch[i]; }
  let total = subgroupAdd(rest);
  workgroupBarrier();
  return total;
}

fn workgroupMax(value: f32, lane: u32) -> f32 {
  scratch[lane] = subgroupMax(value);
  workgroupBarrier();
  let width = subgroupAdd(1u);
  var largest = value;
  for (var i = subgroupExclusiveAdd(1u); i < LANES; i += width) { largest = max(largest, scratch[i]); }
  largest = subgroupMax(largest);
  workgroupBarrier();
  return largest;
}
