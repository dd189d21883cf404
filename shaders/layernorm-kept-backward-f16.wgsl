// layernorm-kept-backward.wgsl for dy in f16, as layernorm rounded y; it also rounds dx, for the branch that was added to x.
//
//   x, earlier, dx  [ROWS, COLS / 4] vec4 of f32; earlier is read where ADDS
//   dy, rounded     [ROWS, COLS / 4] vec4 of f16
//   gain            [COLS / 4] vec4 of f32
//   statistics      [ROWS, 2] f32: mean and rstd of each row
//   sums            [PARTS, 3, COLS / 4] vec4 of f32
//
// One workgroup per part, whose LANES threads share a row at a time.
// include layernorm-kept-row-backward

enable f16;

override ROWS: u32;
override COLS: u32;
override PARTS: u32;
override ADDS: bool;
override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> gain: array<vec4f>;
@group(0) @binding(2) var<storage, read> statistics: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<vec4h>;
@group(0) @binding(4) var<storage, read> earlier: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> rounded: array<vec4h>;
@group(0) @binding(7) var<storage, read_write> sums: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  backwardOfRows(group.y * grid.x + group.x, lane);
}

fn dyAt(i: u32) -> vec4f { return vec4f(dy[i]); }
fn storeRounded(i: u32, value: vec4f) { rounded[i] = vec4h(value); }
