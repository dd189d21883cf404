// The first element and the end of a workgroup's run of RUN elements, in kernels over `size` of them; the grid is folded over
// x and y.

fn runOf(group: vec3u, grid: vec3u, size: u32) -> vec2u {
  let start = (group.y * grid.x + group.x) * RUN;
  return vec2u(start, min(start + RUN, size));
}
