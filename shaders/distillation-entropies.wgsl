// The normaliser and the entropy -sum(q * log q) of each row of the teacher out of its chunks, see distillation-teacher.wgsl:
// entropy = log total + below / total, both terms positive.
//
//   parts        [CHUNKS, stride] f32, each [ROWS, 3] and then a gap: largest, total and below of a chunk
//   temperature  [] f32
//   statistics   [ROWS, 2] f32: max (x - center) and sum exp((x - center - max) / temperature) of the whole row
//   entropies    [ROWS] f32
//
// One thread a row.
// include element

override ROWS: u32;
override CHUNKS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(1) var<storage, read> temperature: array<f32>;
@group(0) @binding(2) var<storage, read_write> statistics: array<f32>;
@group(0) @binding(3) var<storage, read_write> entropies: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = elementOf(group, grid, lane);
  if (r >= ROWS) { return; }
  let stride = arrayLength(&parts) / CHUNKS;

  var largest = parts[3u * r];
  for (var k = 1u; k < CHUNKS; k++) { largest = max(largest, parts[k * stride + 3u * r]); }

  var total = 0.0;
  var below = 0.0;
  for (var k = 0u; k < CHUNKS; k++) {
    let at = k * stride + 3u * r;
    let rise = (largest - parts[at]) / temperature[0];
    let shrink = exp(-rise);
    total += shrink * parts[at + 1u];
    below += shrink * (parts[at + 2u] + rise * parts[at + 1u]);
  }

  statistics[2u * r] = largest;
  statistics[2u * r + 1u] = total;
  entropies[r] = log(total) + below / total;
}
