// Sums and maxima over a workgroup of LANES threads that is one subgroup: reduce.wgsl without memory and barriers. The engine
// takes it in place of that where the adapter's subgroups have as many lanes as it gives a row.
// Every lane gets the result; every lane of the workgroup must call.

enable subgroups;

fn workgroupSum(value: f32, lane: u32) -> f32 { return subgroupAdd(value); }

fn workgroupMax(value: f32, lane: u32) -> f32 { return subgroupMax(value); }
