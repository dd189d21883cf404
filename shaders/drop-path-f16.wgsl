// y[b, ...] = x[b, ...] / keep * floor(keep + uniform[b]), keep = 1 - PROBABILITY: whole samples are dropped
// (Huang et al. 2016, Deep Networks with Stochastic Depth).
//
//   x, y     [batch, ...] f16; computed in f32
//   uniform  [batch] f32 in [0, 1)
//
// One thread an element. Its own backward: dx is the same of dy.
// include element

enable f16;

override PROBABILITY: f32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read> uniform: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f16>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&y)) { return; }
  let keep = 1.0 - PROBABILITY;
  let sample = i / (arrayLength(&x) / arrayLength(&uniform));  // rounded down, as an odd number of f16 is bound with one more
  y[i] = f16(f32(x[i]) / keep * floor(keep + uniform[sample]));
}
