// dx[r, c] = factors[c] * dy[r, c], and sums over the p-th of PARTS runs of rows: of x * dy, the gradient of the factors, and of dx,
// the gradient of a bias that was added to x.
//
//   x, dy, dx  [ROWS, COLS / 4] vec4 of f32
//   factors    [COLS / 4] vec4 of f32
//   sums       [PARTS, 2, COLS / 4] vec4 of f32
//
// One workgroup for 256 columns of a part, a thread for four, two rows at a time, whose loads do not wait for each other.

override ROWS: u32;
override COLS: u32;
override PARTS: u32;
const LANES = 64u;

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> factors: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let fours = COLS / 4u;
  let blocks = (fours + LANES - 1u) / LANES;
  let g = group.y * grid.x + group.x;
  let part = g / blocks;
  let c = g % blocks * LANES + lane;
  if (part >= PARTS || c >= fours) { return; }
  let rowsPerPart = (ROWS + PARTS - 1u) / PARTS;
  let end = min((part + 1u) * rowsPerPart, ROWS);
  let factor = factors[c];
  var products = vec4f(0.0);
  var total = vec4f(0.0);
  var r = part * rowsPerPart;
  for (; r + 1u < end; r += 2u) {
    let i = r * fours + c;
    let j = i + fours;
    let a = dy[i];
    let b = dy[j];
    products += x[i] * a + x[j] * b;
    total += factor * a + factor * b;
    dx[i] = factor * a;
    dx[j] = factor * b;
  }
  if (r < end) {
    let i = r * fours + c;
    let a = dy[i];
    products += x[i] * a;
    total += factor * a;
    dx[i] = factor * a;
  }
  sums[2u * part * fours + c] = products;
  sums[(2u * part + 1u) * fours + c] = total;
}
