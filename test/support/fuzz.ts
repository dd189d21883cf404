/** How many runs properties of damaged files take. */

/** As many as usual, or as the variable FUZZ_RUNS says, for long searches. */
export function fuzzRuns(usual: number): number {
  return process.env.FUZZ_RUNS ? Number(process.env.FUZZ_RUNS) : usual;
}
