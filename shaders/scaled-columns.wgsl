// Shared by the backward kernels of scaled columns: dx of LANES fours of columns of a part of the rows, and the sums of x * dy and of dx
// over them, a thread a four of columns and two rows at a time, whose loads do not wait for each other. The including file binds
// factors and sums, sets ROWS, COLS, PARTS and LANES, and defines `xAt`, `dyAt` and `store`, which writes dx.

fn backwardOfScaledColumns(g: u32, lane: u32) {
  let fours = COLS / 4u;
  let blocks = (fours + LANES - 1u) / LANES;
  let part = g / blocks;
  let c = (g % blocks) * LANES + lane;
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
    let a = dyAt(i);
    let b = dyAt(j);
    products += xAt(i) * a + xAt(j) * b;
    total += factor * a + factor * b;
    store(i, factor * a);
    store(j, factor * b);
  }
  if (r < end) {
    let i = r * fours + c;
    let a = dyAt(i);
    products += xAt(i) * a;
    total += factor * a;
    store(i, factor * a);
  }
  sums[2u * part * fours + c] = products;
  sums[(2u * part + 1u) * fours + c] = total;
}
