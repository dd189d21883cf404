/** The client of the runs API, which requests only what has changed. */
import type { Config } from "../../config/settings.js";
import type { LogPart, RunList, RunState } from "../../dashboard/api.js";
import type { EpochLine, EvaluationLine, LogLine, StepLine } from "../../run/log.js";
import type { StepProfile } from "../../run/step-profile.js";
import { addressOf } from "../shell/address.js";

/** A run as fetched so far. */
export interface FetchedRun {
  readonly state: RunState;
  /** Content of config.json; files of other versions may lack settings or have others. */
  readonly config: Readonly<Partial<Config>>;
  readonly steps: readonly StepLine[];
  readonly epochs: readonly EpochLine[];
  /** Lines with accuracies, including those of epochs. */
  readonly evaluations: readonly (EpochLine | EvaluationLine)[];
  readonly profile: StepProfile | undefined;
  /** Position in the log. */
  readonly read: { readonly version: string; readonly to: number };
}

export type Get = (address: string) => Promise<unknown>;

/** Fetches JSON from the server of this page. Throws with its message if the request fails. */
export async function getJson(address: string): Promise<unknown> {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status} ${(await response.text()).trim()}`);
  return await response.json();
}

/** Fetches the current runs, given the known ones, and whether they may change. */
export async function refreshRuns(
  known: readonly FetchedRun[],
  get: Get,
): Promise<{ readonly runs: readonly FetchedRun[]; readonly isLive: boolean }> {
  const { runs: states, isLive } = (await get("api/runs.json")) as RunList;
  const byName = new Map(known.map((run) => [run.state.name, run]));
  const runs: FetchedRun[] = [];
  for (const state of states) runs.push(await refreshRun(byName.get(state.name) ?? emptyRun(state), state, get));
  return { runs, isLive };
}

function emptyRun(state: RunState): FetchedRun {
  const none = { ...state, config: "", profile: "" };
  return {
    state: none,
    config: {},
    steps: [],
    epochs: [],
    evaluations: [],
    profile: undefined,
    read: { version: "", to: 0 },
  };
}

async function refreshRun(known: FetchedRun, state: RunState, get: Get): Promise<FetchedRun> {
  const file = (name: string, version: string) => get(addressOf("runs", state.name, name, version));
  const config = known.state.config === state.config ? known.config : await file("config.json", state.config);
  const profile =
    known.state.profile === state.profile
      ? known.profile
      : state.profile === undefined
        ? undefined
        : await file("profile.json", state.profile);
  const run = { ...known, state, config: config as FetchedRun["config"], profile: profile as FetchedRun["profile"] };
  const { version, to } = run.read;
  return version === state.log.version && to === state.log.bytes ? run : await readLogTail(run, get);
}

/** Reads the rest of the log. */
async function readLogTail(run: FetchedRun, get: Get): Promise<FetchedRun> {
  const [steps, epochs, evaluations] = [[...run.steps], [...run.epochs], [...run.evaluations]];
  let { read } = run;
  for (;;) {
    const part = (await get(
      addressOf("runs", run.state.name, `log.json?from=${read.to}&version=${read.version}`),
    )) as LogPart;
    if (part.from === 0) steps.length = epochs.length = evaluations.length = 0;
    for (const line of linesOf(part.lines)) {
      if (!("type" in line)) steps.push(line);
      else {
        if (line.type === "epoch") epochs.push(line);
        if (line.knn ?? line.linear) evaluations.push(line);
      }
    }
    read = { version: part.version, to: part.to };
    if (part.to === part.from || part.to >= run.state.log.bytes) return { ...run, steps, epochs, evaluations, read };
  }
}

/** Parses the lines of a log, except incomplete ones of a killed process. */
function linesOf(text: string): readonly LogLine[] {
  return text.split("\n").flatMap((line) => {
    try {
      return line === "" ? [] : [JSON.parse(line) as LogLine];
    } catch {
      return [];
    }
  });
}
