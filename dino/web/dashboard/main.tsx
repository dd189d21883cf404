/** The dashboard: runs during and after training. */
import { render } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import { Page } from "../shell/page.js";
import { Configuration } from "./configuration.js";
import { COLORS, Curves } from "./curves.js";
import { Kernels } from "./kernels.js";
import { panels } from "./panels.js";
import { Pictures } from "./pictures.js";
import { refreshRuns, getJson, type FetchedRun } from "./run-client.js";
import { RunTable } from "./runs.js";
import "./style.css";

/** Polling intervals of visible and hidden pages. */
const VISIBLE_MS = 2000;
const HIDDEN_MS = 20_000;

function Dashboard() {
  const { runs, trouble } = useRuns();
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const toggle = (name: string): void =>
    setHidden((before) => new Set(before.has(name) ? [...before].filter((one) => one !== name) : [...before, name]));
  const shown = useMemo(
    () => (runs ?? []).map((run, i) => ({ run, color: i % COLORS })).filter(({ run }) => !hidden.has(run.state.name)),
    [runs, hidden],
  );
  const visible = shown.map(({ run }) => run);
  return (
    <Page
      name="Runs"
      title="DINO runs"
      status={trouble ?? (runs === undefined ? "Reading the runs" : countOf(runs))}
      isTrouble={trouble !== undefined}
    >
      {runs !== undefined && (
        <>
          <RunTable {...{ runs, hidden, toggle }} />
          <Curves panels={panels} shown={shown} />
          <Pictures runs={visible} />
          <Configuration runs={visible} />
          <Kernels runs={visible} />
        </>
      )}
    </Page>
  );
}

function countOf(runs: readonly FetchedRun[]): string {
  return runs.length === 1 ? "1 run" : `${runs.length} runs`;
}

/** Polls the runs; undefined until the first answer. */
function useRuns(): { readonly runs: readonly FetchedRun[] | undefined; readonly trouble: string | undefined } {
  const [runs, setRuns] = useState<readonly FetchedRun[]>();
  const [trouble, setTrouble] = useState<string>();
  useEffect(() => {
    let known: readonly FetchedRun[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    let [isAsking, isLive] = [false, true];
    const ask = async () => {
      if (isAsking) return;
      isAsking = true;
      clearTimeout(timer);
      try {
        ({ runs: known, isLive } = await refreshRuns(known, getJson));
        setRuns(known);
        setTrouble(undefined);
      } catch (error) {
        setTrouble(`The server does not answer; asking again (${(error as Error).message})`);
      }
      isAsking = false;
      if (isLive) timer = setTimeout(() => void ask(), document.hidden ? HIDDEN_MS : VISIBLE_MS);
    };
    const askIfVisible = () => void (document.hidden || !isLive || ask());
    document.addEventListener("visibilitychange", askIfVisible);
    void ask();
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", askIfVisible);
    };
  }, []);
  return { runs, trouble };
}

render(<Dashboard />, document.body);
