// center = temperature * log(sum over the rows r of exp(x[r] / temperature) / normaliser[r]), a chunk of the columns of it: the
// center that gives every column of exp((x - center) / temperature) / normaliser the same sum, 1. With the softmax over rows
// in turn it is a step of Sinkhorn & Knopp (Cuturi 2013, algorithm 1, https://arxiv.org/abs/1306.0895) as SwAV and DINOv2 take
// it, in logarithms, so that nothing overflows.
//
//   x            [ROWS, COLS] f32: the chunk
//   temperature  [] f32
//   statistics   [ROWS, 2] f32: largest and total of a row, its normaliser being exp(largest / temperature) * total
//   center       [COLS] f32
//
// One thread a column.
// include element

override ROWS: u32;
override COLS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> temperature: array<f32>;
@group(0) @binding(2) var<storage, read> statistics: array<f32>;
@group(0) @binding(3) var<storage, read_write> center: array<f32>;

fn exponent(r: u32, c: u32) -> f32 {
  return (x[r * COLS + c] - statistics[2u * r]) / temperature[0] - log(statistics[2u * r + 1u]);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let c = elementOf(group, grid, lane);
  if (c >= COLS) { return; }

  var largest = exponent(0u, c);
  var total = 1.0;  // of exp(exponent - largest) so far
  for (var r = 1u; r < ROWS; r++) {
    let e = exponent(r, c);
    let shrunk = exp(-abs(e - largest));
    total = select(total + shrunk, total * shrunk + 1.0, e > largest);
    largest = max(largest, e);
  }
  center[c] = temperature[0] * (largest + log(total));
}
