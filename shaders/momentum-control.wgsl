// Control values of a step of SGD with momentum, or of LARS (You et al. 2017, eq. 6), for each tensor:
//
//   gradient = that of the scaled loss / scale, norm = sqrt(sum of gradient^2),
//   clip = min(1, CLIP / (norm of the tensors it is clipped with + 1e-6)), lr times the tensor's factor, or 0 while it halts
//   trust = ETA * |parameter| / |clip * gradient + weightDecay * parameter| for adapted tensors where neither length is 0, else 1
//   control = [trust * clip / scale, trust * weightDecay, lr, 1]; all 0 for a skipped tensor.
//
//   tensors                  [TENSORS, 2] vec4 of u32: first segment, segments, flags, unused; first segment and segments of the
//                            tensors it is clipped with, bits of its factor of lr, unused
//   products                 [segments, 4] f32: sums of gradient^2, gradient * parameter, parameter^2, of the scaled loss
//   lr, weightDecay          [] f32
//   frozen                   [] f32, or [3] where SCALED: frozen, skipped, 1 / scale; the scale is 1 elsewhere
//   norms                    [TENSORS] f32
//   control                  [TENSORS, 4] f32
//
// One workgroup per tensor; its threads stride over the segments, then add up in a tree.
// include reduce
// include optimizer

override CLIP: f32;
override ETA: f32;
override SCALED: bool;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> tensors: array<vec4u>;
@group(0) @binding(1) var<storage, read> products: array<vec4f>;
@group(0) @binding(2) var<storage, read> lr: array<f32>;
@group(0) @binding(3) var<storage, read> weightDecay: array<f32>;
@group(0) @binding(4) var<storage, read> frozen: array<f32>;
@group(0) @binding(5) var<storage, read_write> norms: array<f32>;
@group(0) @binding(6) var<storage, read_write> control: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let t = group.y * grid.x + group.x;
  if (2u * t >= arrayLength(&tensors)) { return; }
  let row = tensors[2u * t];
  let more = tensors[2u * t + 1u];
  var sums = vec4f(0.0);
  for (var s = row.x + lane; s < row.x + row.y; s += LANES) { sums += products[s]; }
  let gg = workgroupSum(sums.x, lane) * unscale() * unscale();
  let gp = workgroupSum(sums.y, lane) * unscale();
  let pp = workgroupSum(sums.z, lane);
  var clipped = 0.0;
  for (var s = more.x + lane; s < more.x + more.y; s += LANES) { clipped += products[s].x; }
  clipped = workgroupSum(clipped, lane);
  if (lane > 0u) { return; }

  let norm = sqrt(gg);
  norms[t] = norm;
  if (skips(row.z)) {
    control[t] = vec4f(0.0);
    return;
  }
  let clip = clipFactor(sqrt(clipped * unscale() * unscale()), CLIP);
  let decay = select(0.0, weightDecay[0], (row.z & DECAYED) != 0u);
  var trust = 1.0;
  if ((row.z & ADAPTED) != 0u) {
    let update = sqrt(max(clip * clip * gg + 2.0 * clip * decay * gp + decay * decay * pp, 0.0));
    if (pp > 0.0 && update > 0.0) { trust = ETA * sqrt(pp) / update; }
  }
  control[t] = vec4f(trust * clip * unscale(), trust * decay, rateOf(row.z, more.z, lr[0]), 1.0);
}
