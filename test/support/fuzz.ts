/** Number of runs of property tests on damaged files. */

/** Returns the usual number of runs, or the value of the variable FUZZ_RUNS. */
export function fuzzRuns(usual: number): number {
  return process.env.FUZZ_RUNS ? Number(process.env.FUZZ_RUNS) : usual;
}
