// A Gaussian blur along one axis, edges repeated; across the rows it ends the pipeline: solarized and normalised.
//
//   levels      [crops, CHANNELS, ROWS, COLS] f32: 0 to 255
//   parameters  [crops, 22] f32: see crop-parameters.wgsl
//   mean, spread   [CHANNELS] f32: of the channels, 0 to 1; read where LAST
//   out         [crops, CHANNELS, ROWS, COLS] f32: levels, or where LAST (level / 255 - mean) / spread
//
// One thread a value. LAST blurs along the columns, else along the rows.
// include crop-parameters
// include element

override CHANNELS: u32;
override ROWS: u32;
override COLS: u32;
override LAST: bool;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> levels: array<f32>;
@group(0) @binding(1) var<storage, read> parameters: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> spread: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = elementOf(group, grid, lane);
  if (i >= arrayLength(&out)) { return; }
  let plane = i / (ROWS * COLS);  // over crops and channels
  let at = plane / CHANNELS * PARAMETERS;
  let row = i32(i / COLS % ROWS);
  let col = i32(i % COLS);
  let deviation = parameters[at + BLUR];
  var x = levels[i];
  if (deviation > 0.0) {
    let reach = i32(ceil(3.0 * deviation));
    var sum = 0.0;
    var weights = 0.0;
    for (var d = -reach; d <= reach; d++) {
      let z = f32(d) / deviation;
      let w = exp(-0.5 * z * z);
      let r = select(row, clamp(row + d, 0, i32(ROWS) - 1), LAST);
      let c = select(clamp(col + d, 0, i32(COLS) - 1), col, LAST);
      sum += w * levels[(plane * ROWS + u32(r)) * COLS + u32(c)];
      weights += w;
    }
    x = sum / weights;
  }
  if (LAST) {
    x = floor(x + 0.5);
    if (x >= parameters[at + SOLARIZE]) { x = 255.0 - x; }
    x = (x / 255.0 - mean[plane % CHANNELS]) / spread[plane % CHANNELS];
  }
  out[i] = x;
}
