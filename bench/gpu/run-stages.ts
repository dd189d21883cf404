/** Runs stages one after another, each in a process of its own. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { isTestResults, parseOutput, planStage, type Stage, type StageResult } from "./stage.js";

export interface RunOptions {
  /** Working directory of the stages. */
  readonly cwd: string;
  /** Seconds for all stages together. */
  readonly totalS: number;
  /** Aborted to end the running stage and skip the others. */
  readonly stop?: AbortSignal;
  readonly print: (line: string) => void;
  /** Called after each stage with all results so far. */
  readonly onResult: (results: readonly StageResult[]) => Promise<void>;
}

/** Time between two reports on a running stage. */
const REPORT_MS = 15_000;
/** Time for which a killed process is waited for: one that waits for a driver may never end. */
const DYING_MS = 5000;
/** Characters of stderr that are kept. */
const STDERR = 4000;

/** Runs the stages in order and returns a result for each; a stage that fails, hangs or has no time left does not stop the others. */
export async function runStages(stages: readonly Stage[], options: RunOptions): Promise<readonly StageResult[]> {
  const began = performance.now();
  const elapsedS = () => (performance.now() - began) / 1000;
  const say = (line: string) => options.print(`[${elapsedS().toFixed(0).padStart(4)} s] ${line}`);
  const results: StageResult[] = [];
  for (const stage of stages) {
    const plan = options.stop?.aborted ? { skip: "interrupted" } : planStage(stage, options.totalS - elapsedS());
    if ("skip" in plan) results.push({ name: stage.name, outcome: "skipped", seconds: 0, note: plan.skip });
    else {
      say(`${stage.name}: about ${stage.expectedS} s on a fast GPU, ${plan.limitS.toFixed(0)} s at most`);
      results.push(await runStage(stage, plan.limitS, { ...options, print: say }));
    }
    const { outcome, seconds, note } = results.at(-1)!;
    say(`${stage.name}: ${[`${outcome} after ${seconds.toFixed(1)} s`, note].filter(Boolean).join(", ")}`);
    await options.onResult(results);
  }
  return results;
}

/** Runs one stage; kills it, with the processes that it started, after `limitS` seconds. */
async function runStage(
  { name, command: [program, ...words], output }: Stage,
  limitS: number,
  { cwd, stop, print }: Pick<RunOptions, "cwd" | "stop" | "print">,
): Promise<StageResult> {
  const began = performance.now();
  const child = spawn(program, words, { cwd, stdio: ["ignore", "pipe", "pipe"], detached: true });
  let [stdout, stderr, last] = ["", "", ""];
  const note = (text: string) => (last = text.trim().split("\n").at(-1)!.slice(0, 120) || last);
  child.stdout.setEncoding("utf8").on("data", (text: string) => void ((stdout += text), note(text)));
  child.stderr
    .setEncoding("utf8")
    .on("data", (text: string) => void ((stderr = (stderr + text).slice(-STDERR)), note(text)));
  const report = setInterval(() => print(`${name}: running${last && `: ${last}`}`), REPORT_MS);
  const end = await endOf(child, limitS, stop);
  clearInterval(report);
  const seconds = (performance.now() - began) / 1000;
  const found = parseOutput(output, stdout);
  const verdict = judge(found, end, stderr);
  return { name, seconds, ...verdict, found, ...(verdict.outcome === "failed" && { stderr }) };
}

/** How a process ended: by itself, killed, or not started. */
type End = { readonly code: number | null; readonly signal: string | null } | { readonly problem: string };

async function endOf(
  child: ChildProcessByStdio<null, Readable, Readable>,
  limitS: number,
  stop: AbortSignal | undefined,
): Promise<End> {
  const over = new AbortController();
  const ended = once(child, "close").then(
    ([code, signal]): End => ({ code: code as number | null, signal: signal as string | null }),
    (error: unknown): End => ({ problem: (error as Error).message }),
  );
  const late = sleep(limitS * 1000, undefined, { signal: over.signal }).then(
    (): End => ({ problem: `killed after ${limitS.toFixed(0)} s` }),
    () => ended,
  );
  const stopped = new Promise<End>((resolve) => {
    stop?.addEventListener("abort", () => resolve({ problem: "interrupted" }), { once: true, signal: over.signal });
  });
  const first = await Promise.race([ended, late, stopped]);
  over.abort();
  if ("problem" in first && child.pid !== undefined) {
    killGroup(child.pid);
    await Promise.race([ended, sleep(DYING_MS)]);
    child.unref();
    for (const stream of [child.stdout, child.stderr]) stream.destroy();
  }
  return first;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // it has ended
  }
}

/** Judges a stage by how it ended and what it printed. */
function judge(found: unknown, end: End, stderr: string): Pick<StageResult, "outcome" | "note"> {
  const tests = isTestResults(found) ? found : undefined;
  const counts = tests && `${tests.passed} passed, ${tests.failures.length} failed, ${tests.skipped} skipped`;
  const failed = (...words: readonly (string | undefined)[]) =>
    ({ outcome: "failed", note: words.filter((each) => each).join(": ") }) as const;
  if ("problem" in end) return failed(end.problem, counts);
  if (end.signal !== null) return failed(`ended by ${end.signal}`, counts);
  if (end.code !== 0) return failed(counts ?? `exit status ${end.code}`, lastLine(stderr));
  if (found === undefined) return failed("printed no JSON");
  if (tests === undefined) return { outcome: "passed" };
  if (tests.passed === 0) return tests.skipped > 0 ? { outcome: "skipped", note: counts! } : failed("no test ran");
  return { outcome: "passed", note: counts! };
}

function lastLine(text: string): string | undefined {
  return text
    .trim()
    .split("\n")
    .findLast((line) => line !== "" && !line.startsWith("Node.js v"));
}
