// The element a thread works on, in kernels with one thread an element; the grid is folded over x and y.

fn elementOf(group: vec3u, grid: vec3u, lane: u32) -> u32 {
  return (group.y * grid.x + group.x) * LANES + lane;
}
