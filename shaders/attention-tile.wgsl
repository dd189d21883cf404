// Shared by the tiled attention kernels: products of 64 x 64 tiles by 64 threads, 16 steps of the inner axis at a time.
//
// The threads form 8 rows (y) x 8 columns (x); each holds 8 x 8 numbers in 16 vec4: rows 4 y .. 4 y + 3 in the first eight
// vec4, rows 32 + 4 y .. in the others, two vec4 a row for the columns of its two quads. In `left` and `right` lie 16 quads at
// each of 16 steps. The file that includes this one binds `sizes` and defines `component`.
// include attention-layout

const DEPTH = 16u;

var<workgroup> left: array<vec4f, 256>;
var<workgroup> right: array<vec4f, 256>;

/** Where a quad lies at a step; turned by the step, so that threads along steps write to banks of their own. */
fn slot(step: u32, quad: u32) -> u32 { return step * 16u + (quad ^ (step & 7u)); }

/** acc += the product of what `left` and `right` hold. */
fn accumulate(acc: ptr<function, array<vec4f, 16>>, x: u32, y: u32) {
  for (var d = 0u; d < DEPTH; d++) {
    let a0 = left[slot(d, y)];
    let a1 = left[slot(d, y + 8u)];
    let b0 = right[slot(d, x)];
    let b1 = right[slot(d, x + 8u)];
    (*acc)[0] += a0.x * b0;   (*acc)[1] += a0.x * b1;
    (*acc)[2] += a0.y * b0;   (*acc)[3] += a0.y * b1;
    (*acc)[4] += a0.z * b0;   (*acc)[5] += a0.z * b1;
    (*acc)[6] += a0.w * b0;   (*acc)[7] += a0.w * b1;
    (*acc)[8] += a1.x * b0;   (*acc)[9] += a1.x * b1;
    (*acc)[10] += a1.y * b0;  (*acc)[11] += a1.y * b1;
    (*acc)[12] += a1.z * b0;  (*acc)[13] += a1.z * b1;
    (*acc)[14] += a1.w * b0;  (*acc)[15] += a1.w * b1;
  }
}

/** The quad of columns, of the score tile's 16, that lies at a place in `right`: a thread's two are neighbours. */
fn columnQuad(place: u32) -> u32 { return 2u * (place & 7u) + (place >> 3u); }

/**
 * Brings one step of 16 components of the tokens of two tiles: `left` from `rows`, `right` from `columns`, in the order of
 * columnQuad.
 */
fn bringTokens(rowSource: u32, rows: u32, columnSource: u32, columns: u32, sequence: u32, d: u32, lane: u32) {
  workgroupBarrier();
  for (var i = lane; i < 256u; i += 64u) {
    let step = i % DEPTH;
    let place = i / DEPTH;
    left[slot(step, place)] = fourTokens(rowSource, sequence, rows + 4u * place, d + step);
    right[slot(step, place)] = fourTokens(columnSource, sequence, columns + 4u * columnQuad(place), d + step);
  }
  workgroupBarrier();
}

/** Brings the components of 16 tokens to `right`. */
fn bringComponents(source: u32, first: u32, sequence: u32, lane: u32) {
  for (var i = lane; i < 256u; i += 64u) {
    let quad = i % 16u;
    let step = i / 16u;
    let token = min(first + step, tokens() - 1u);
    right[slot(step, quad)] = vec4f(
      component(source, sequence, token, 4u * quad),
      component(source, sequence, token, 4u * quad + 1u),
      component(source, sequence, token, 4u * quad + 2u),
      component(source, sequence, token, 4u * quad + 3u));
  }
}

/** Brings the columns of the score tile that the `chunk`-th 16 columns are to `left`, each with the quads of its rows. */
fn bringScores(scores: ptr<function, array<vec4f, 16>>, chunk: u32, x: u32, y: u32) {
  if (x / 2u != chunk) { return; }
  let step = 8u * (x % 2u);
  left[slot(step, y)] = vec4f((*scores)[0].x, (*scores)[2].x, (*scores)[4].x, (*scores)[6].x);
  left[slot(step + 1u, y)] = vec4f((*scores)[0].y, (*scores)[2].y, (*scores)[4].y, (*scores)[6].y);
  left[slot(step + 2u, y)] = vec4f((*scores)[0].z, (*scores)[2].z, (*scores)[4].z, (*scores)[6].z);
  left[slot(step + 3u, y)] = vec4f((*scores)[0].w, (*scores)[2].w, (*scores)[4].w, (*scores)[6].w);
  left[slot(step + 4u, y)] = vec4f((*scores)[1].x, (*scores)[3].x, (*scores)[5].x, (*scores)[7].x);
  left[slot(step + 5u, y)] = vec4f((*scores)[1].y, (*scores)[3].y, (*scores)[5].y, (*scores)[7].y);
  left[slot(step + 6u, y)] = vec4f((*scores)[1].z, (*scores)[3].z, (*scores)[5].z, (*scores)[7].z);
  left[slot(step + 7u, y)] = vec4f((*scores)[1].w, (*scores)[3].w, (*scores)[5].w, (*scores)[7].w);
  left[slot(step, y + 8u)] = vec4f((*scores)[8].x, (*scores)[10].x, (*scores)[12].x, (*scores)[14].x);
  left[slot(step + 1u, y + 8u)] = vec4f((*scores)[8].y, (*scores)[10].y, (*scores)[12].y, (*scores)[14].y);
  left[slot(step + 2u, y + 8u)] = vec4f((*scores)[8].z, (*scores)[10].z, (*scores)[12].z, (*scores)[14].z);
  left[slot(step + 3u, y + 8u)] = vec4f((*scores)[8].w, (*scores)[10].w, (*scores)[12].w, (*scores)[14].w);
  left[slot(step + 4u, y + 8u)] = vec4f((*scores)[9].x, (*scores)[11].x, (*scores)[13].x, (*scores)[15].x);
  left[slot(step + 5u, y + 8u)] = vec4f((*scores)[9].y, (*scores)[11].y, (*scores)[13].y, (*scores)[15].y);
  left[slot(step + 6u, y + 8u)] = vec4f((*scores)[9].z, (*scores)[11].z, (*scores)[13].z, (*scores)[15].z);
  left[slot(step + 7u, y + 8u)] = vec4f((*scores)[9].w, (*scores)[11].w, (*scores)[13].w, (*scores)[15].w);
}

/** One component of four tokens; past the last token that one again, past the last component zeros. */
fn fourTokens(source: u32, sequence: u32, first: u32, d: u32) -> vec4f {
  let token = min(first + vec4u(0u, 1u, 2u, 3u), vec4u(tokens() - 1u));
  return vec4f(
    component(source, sequence, token.x, d),
    component(source, sequence, token.y, d),
    component(source, sequence, token.z, d),
    component(source, sequence, token.w, d));
}

/** The keys of a column quad that exist: true where the token is one. */
fn exists(first: u32) -> vec4<bool> { return first + vec4u(0u, 1u, 2u, 3u) < vec4u(tokens()); }
