/** A stage of `bench:gpu`: one measurement in a process of its own. */

export interface Stage {
  readonly name: string;
  /** Program and arguments; it runs in the root of the project. */
  readonly command: readonly [string, ...string[]];
  /** About how long it takes on a fast GPU; with less time left it is not begun. */
  readonly expectedS: number;
  /** Time after which it is killed. */
  readonly limitS: number;
  /** What it prints: one JSON value, JSON values a line each, or test results in TAP. */
  readonly output: "json" | "lines" | "tap";
  /** Why it cannot run on this machine; absent if it can. */
  readonly obstacle?: string;
}

export interface StageResult {
  readonly name: string;
  readonly outcome: "passed" | "failed" | "skipped";
  readonly seconds: number;
  /** Why it failed or was skipped; for passed tests, their number. */
  readonly note?: string;
  /** What it printed, parsed; a stage that was killed has what it printed until then. */
  readonly found?: unknown;
  /** End of what a failed stage wrote to stderr. */
  readonly stderr?: string;
}

/** Seconds that a stage may take, or why it is skipped. */
export type Plan = { readonly limitS: number } | { readonly skip: string };

/** Plans a stage for the seconds that are left of the whole time. */
export function planStage({ obstacle, expectedS, limitS }: Stage, leftS: number): Plan {
  if (obstacle !== undefined) return { skip: obstacle };
  if (leftS < expectedS)
    return { skip: `takes about ${expectedS} s, and ${Math.max(0, Math.floor(leftS))} s are left` };
  return { limitS: Math.min(limitS, leftS) };
}

/** Results of tests. */
export interface TestResults {
  readonly passed: number;
  readonly skipped: number;
  readonly failures: readonly { readonly title: string; readonly message: string }[];
}

/** Whether the output of a stage is that of tests. */
export function isTestResults(found: unknown): found is TestResults {
  return typeof found === "object" && found !== null && "failures" in found;
}

/** Parses the output of a stage as far as it goes; undefined for JSON that is incomplete. */
export function parseOutput(output: Stage["output"], text: string): unknown {
  switch (output) {
    case "json":
      return parseJson(text);
    case "lines":
      return text.split("\n").flatMap((line) => parseJson(line) ?? []);
    case "tap":
      return parseTap(text);
    default:
      return output satisfies never;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Parses TAP as Mocha writes it: `ok 1 title`, `not ok 2 title` followed by an indented message, `ok 3 title # SKIP -`. */
export function parseTap(text: string): TestResults {
  let [passed, skipped] = [0, 0];
  const failures: { title: string; message: string }[] = [];
  let isFailure = false;
  for (const line of text.split("\n")) {
    const [, not, title] = /^(not )?ok \d+ (.*)$/.exec(line) ?? [];
    if (title === undefined) {
      const failure = failures.at(-1);
      if (isFailure && failure && /^ {2,}\S/.test(line)) failure.message = `${failure.message}\n${line.trim()}`.trim();
      continue;
    }
    isFailure = not !== undefined;
    if (isFailure) failures.push({ title, message: "" });
    else if (title.includes("# SKIP")) skipped++;
    else passed++;
  }
  return { passed, skipped, failures };
}
