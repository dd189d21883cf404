// Shared by the kernels of GELU for four elements at a time: a run of 1024 elements, four fours a thread, which are loaded before
// they are needed. The including file binds x and y, sets LANES, and defines `xAt` and `store`.
// include erf
// include run

const RUN = 256u;  // in fours
const EACH = 4u;   // of a thread

fn geluOfRun(group: vec3u, grid: vec3u, lane: u32) {
  let run = runOf(group, grid, arrayLength(&y));
  var fours = array<vec4f, EACH>();
  for (var j = 0u; j < EACH; j++) { fours[j] = xAt(min(run.x + j * LANES + lane, arrayLength(&x) - 1u)); }
  for (var j = 0u; j < EACH; j++) {
    let i = run.x + j * LANES + lane;
    let v = fours[j];
    if (i < run.y) { store(i, v * vec4f(normalCdf(v.x), normalCdf(v.y), normalCdf(v.z), normalCdf(v.w))); }
  }
}
