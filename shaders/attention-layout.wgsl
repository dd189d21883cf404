// Memory layout of attention for the tiled kernels. The file that includes this one binds `sizes`, [3] u32:
// tokens, heads and components of a head, not constants, or each shape would be compiled apart.

fn tokens() -> u32 { return sizes[0]; }
fn heads() -> u32 { return sizes[1]; }
fn headDim() -> u32 { return sizes[2]; }

/** Where the components of a token begin in [batch, TOKENS, HEADS, HEAD_DIM]. */
fn tokenStart(sequence: u32, token: u32) -> u32 {
  return ((sequence / heads() * tokens() + token) * heads() + sequence % heads()) * headDim();
}

/** Where those of the part-th of queries, keys and values begin in [batch, TOKENS, 3, HEADS, HEAD_DIM]. */
fn partStart(part: u32, sequence: u32, token: u32) -> u32 {
  return (((sequence / heads() * tokens() + token) * 3u + part) * heads() + sequence % heads()) * headDim();
}
