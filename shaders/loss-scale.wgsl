// Effect of a step with a scaled loss (Micikevicius et al. 2018, section 3.2), and the scale of the next one, as
// torch.cuda.amp.GradScaler: where a sum is not finite the step is skipped and the scale halved; after GROW_EVERY good steps it
// doubles.
//
//   sums     [...] f32: sums over all gradients of the scaled loss, such as their squares
//   frozen   [] f32
//   verdict  [3] f32: frozen, 1 where the step is skipped, 1 / scale
//   state    [2] f32: scale, good steps since it last changed
//
// One workgroup; its threads stride over the sums.
// include reduce
// include finite

override GROW_EVERY: f32;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read> frozen: array<f32>;
@group(0) @binding(2) var<storage, read_write> verdict: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;

const LARGEST = 0x1p126f;  // its inverse is a normal number

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
  var overflow = 0.0;
  for (var i = lane; i < arrayLength(&sums); i += LANES) {
    if (!isFinite(sums[i])) { overflow = 1.0; }
  }
  overflow = workgroupMax(overflow, lane);
  if (lane > 0u) { return; }

  let scale = state[0];
  verdict[0] = frozen[0];
  verdict[1] = overflow;
  verdict[2] = 1.0 / scale;
  let good = select(state[1] + 1.0, 0.0, overflow == 1.0);
  let grows = good == GROW_EVERY;
  state[0] = select(select(scale, min(2.0 * scale, LARGEST), grows), 0.5 * scale, overflow == 1.0);
  state[1] = select(good, 0.0, grows);
}
