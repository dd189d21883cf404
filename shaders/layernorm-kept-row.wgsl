// Shared by the layernorm kernels whose threads keep a row in registers, so that memory is read once: the place of a thread's
// fours in a row of COLS <= 4 * MOST * LANES columns. The including file sets COLS and LANES.

const MOST = 4u;  // fours of a thread

/** The i-th four of a thread, moved into the row, so that loads need no branch and do not wait for each other. */
fn placeInRow(i: u32, lane: u32) -> u32 { return min(i * LANES + lane, COLS / 4u - 1u); }

/** Whether a thread has an i-th four. */
fn isInRow(i: u32, lane: u32) -> bool { return i * LANES + lane < COLS / 4u; }

/** Whether any thread has an i-th four, which is known when the kernel is compiled. */
fn isNeeded(i: u32) -> bool { return i * LANES < COLS / 4u; }
