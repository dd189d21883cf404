// Adds up partial sums, of many tensors at once: for each item, out[place + c] = the sum over p of parts[first + p * stride + c],
// plus what out[place + c] holds if the item says so.
//
//   items  [items, 8] u32: first, stride, count, columns, place, rows, adds, 0; first, stride, columns and place in fours
//   parts  [... / 4] vec4 of f32
//   out    [... / 4] vec4 of f32; the rest of it stays
//
// One workgroup per item. Its LANES threads lie over the columns; where there are many parts, over `rows` of them at a time too, a
// power of two, whose sums end in a tree. The order is fixed.

override LANES: u32;  // chosen by the engine for the adapter

@group(0) @binding(0) var<storage, read> items: array<vec4u>;  // two of each
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

var<workgroup> scratch: array<vec4f, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let g = group.y * grid.x + group.x;
  if (2u * g >= arrayLength(&items)) { return; }
  let source = items[2u * g];
  let goal = items[2u * g + 1u];
  let columns = source.w;
  let rows = goal.y;
  let across = LANES / rows;
  let row = lane / across;
  for (var start = 0u; start < columns; start += across) {
    let c = start + lane % across;
    var total = vec4f(0.0);
    if (c < columns) { total = sumOf(source, c, row, rows); }
    if (rows > 1u) { total = sumOfRows(total, lane, across); }
    if (c < columns && row == 0u) {
      if (goal.z == 1u) { total += out[goal.x + c]; }
      out[goal.x + c] = total;
    }
  }
}

/** Every `step`-th part of a four of columns, four parts at a time, whose loads do not wait for each other. */
fn sumOf(source: vec4u, c: u32, row: u32, step: u32) -> vec4f {
  let stride = source.y;
  let end = source.z;
  var total = vec4f(0.0);
  var p = row;
  for (; p + 3u * step < end; p += 4u * step) {
    let i = source.x + p * stride + c;
    let jump = step * stride;
    total += (parts[i] + parts[i + jump]) + (parts[i + 2u * jump] + parts[i + 3u * jump]);
  }
  for (; p < end; p += step) { total += parts[source.x + p * stride + c]; }
  return total;
}

fn sumOfRows(value: vec4f, lane: u32, across: u32) -> vec4f {
  scratch[lane] = value;
  for (var half = LANES / 2u; half >= across; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { scratch[lane] += scratch[lane + half]; }
  }
  workgroupBarrier();
  let total = scratch[lane % across];
  workgroupBarrier();
  return total;
}
