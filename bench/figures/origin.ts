import { execFileSync } from "node:child_process";

/** Commit and time of a measurement. */
export interface Origin {
  readonly commit: string;
  /** ISO 8601. */
  readonly date: string;
}

/** Returns the commit and the current time. */
export function origin(): Origin {
  return { commit: commit(), date: new Date().toISOString() };
}

/**
 * Returns the commit of the working tree. A machine without the repository is told by the variable BENCH_COMMIT;
 * otherwise the commit is "unknown" there.
 */
export function commit(): string {
  const told = process.env["BENCH_COMMIT"];
  if (told !== undefined && told !== "") return told;
  try {
    const git = (...words: string[]) => execFileSync("git", words, { encoding: "utf8", stdio: "pipe" }).trim();
    return git("describe", "--always", "--dirty");
  } catch {
    return "unknown";
  }
}
