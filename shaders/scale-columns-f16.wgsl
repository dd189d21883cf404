// y[r, c] = factors[c] * x[r, c]: LayerScale (Touvron et al. 2021, Going deeper with Image Transformers, section 2).
//
//   x, y     [rows, COLS / 4] vec4 of f16; computed in f32
//   factors  [COLS / 4] vec4 of f32
//
// One workgroup for 1024 elements, a thread for four fours, whose loads do not wait for each other.
// include run

enable f16;

override COLS: u32;
const LANES = 64u;
const RUN = 256u;  // in fours

@group(0) @binding(0) var<storage, read> x: array<vec4h>;
@group(0) @binding(1) var<storage, read> factors: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4h>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let run = runOf(group, grid, arrayLength(&y));
  let first = run.x + lane;
  if (first >= run.y) { return; }
  var kept: array<vec4f, RUN / LANES>;
  for (var k = 0u; k < RUN / LANES; k++) { kept[k] = vec4f(x[min(first + k * LANES, run.y - 1u)]); }
  for (var k = 0u; k < RUN / LANES; k++) {
    let i = first + k * LANES;
    if (i < run.y) { y[i] = vec4h(factors[i % (COLS / 4u)] * kept[k]); }
  }
}
