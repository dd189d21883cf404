// dx[r, c] = factors[c] * dy[r, c], and sums over the p-th of PARTS runs of rows: of x * dy, the gradient of the factors, and of dx,
// the gradient of a bias that was added to x.
//
//   x, dy, dx  [ROWS, COLS / 4] vec4 of f32
//   factors    [COLS / 4] vec4 of f32
//   sums       [PARTS, 2, COLS / 4] vec4 of f32
//
// One workgroup for 256 columns of a part, a thread for four.
// include scaled-columns

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
  backwardOfScaledColumns(group.y * grid.x + group.x, lane);
}

fn xAt(i: u32) -> vec4f { return x[i]; }
fn dyAt(i: u32) -> vec4f { return dy[i]; }
fn store(i: u32, value: vec4f) { dx[i] = value; }
