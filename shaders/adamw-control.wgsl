// Control values of an AdamW step for each tensor, from the length of its gradient:
//
//   norm = sqrt(sum of squares) / scale, clip = min(1, CLIP / (norm of the tensors it is clipped with + 1e-6)),
//   t = t + 1 unless the tensor is skipped, lr times the tensor's factor, or 0 while it halts,
//   control = [clip / scale, 1 - lr * weightDecay, lr / (1 - beta1^t), sqrt(1 - beta2^t)]; the last is 0 for a skipped tensor.
//
//   tensors                  [TENSORS, 2] vec4 of u32: first segment, segments, flags, place of its step count; first segment
//                            and segments of the tensors it is clipped with, bits of its factor of lr, unused
//   squares                  [segments] f32
//   lr, weightDecay          [] f32
//   frozen                   [] f32, or [3] where SCALED: frozen, skipped, 1 / scale; the scale is 1 elsewhere
//   steps                    [...] f32: whole numbers
//   norms                    [TENSORS] f32
//   control                  [TENSORS, 4] f32
//
// One workgroup per tensor; its threads stride over the segments, then add up in a tree.
// include reduce
// include optimizer

override CLIP: f32;
override LOG_BETA1: f32;
override LOG_BETA2: f32;
override SCALED: bool;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> tensors: array<vec4u>;
@group(0) @binding(1) var<storage, read> squares: array<f32>;
@group(0) @binding(2) var<storage, read> lr: array<f32>;
@group(0) @binding(3) var<storage, read> weightDecay: array<f32>;
@group(0) @binding(4) var<storage, read> frozen: array<f32>;
@group(0) @binding(5) var<storage, read_write> norms: array<f32>;
@group(0) @binding(6) var<storage, read_write> control: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> steps: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let t = group.y * grid.x + group.x;
  if (2u * t >= arrayLength(&tensors)) { return; }
  let row = tensors[2u * t];
  let more = tensors[2u * t + 1u];
  var total = 0.0;
  for (var s = row.x + lane; s < row.x + row.y; s += LANES) { total += squares[s]; }
  total = workgroupSum(total, lane);
  var clipped = 0.0;
  for (var s = more.x + lane; s < more.x + more.y; s += LANES) { clipped += squares[s]; }
  clipped = workgroupSum(clipped, lane);
  if (lane > 0u) { return; }

  let norm = sqrt(total) * unscale();
  norms[t] = norm;
  if (skips(row.z)) {
    control[t] = vec4f(0.0);
    return;
  }
  let step = steps[row.w] + 1.0;
  steps[row.w] = step;
  let decay = select(0.0, weightDecay[0], (row.z & DECAYED) != 0u);
  let rate = rateOf(row.z, more.z, lr[0]);
  control[t] = vec4f(
    clipFactor(sqrt(clipped) * unscale(), CLIP) * unscale(),
    1.0 - rate * decay,
    rate / oneMinusPower(LOG_BETA1, step),
    sqrt(oneMinusPower(LOG_BETA2, step)),
  );
}
