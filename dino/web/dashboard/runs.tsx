/** The list of runs with visibility, progress and warnings. */
import { COLORS } from "./curves.js";
import { formatAge, stepsOf, stageOf, warningsOf } from "./progress.js";
import type { FetchedRun } from "./run-client.js";

interface RunsProps {
  readonly runs: readonly FetchedRun[];
  readonly hidden: ReadonlySet<string>;
  readonly toggle: (name: string) => void;
}

export function RunTable({ runs, hidden, toggle }: RunsProps) {
  return (
    <section aria-labelledby="runs">
      <h2 id="runs">Runs</h2>
      <ul class="runs">
        {runs.map((run, i) => {
          const { name } = run.state;
          return (
            <li key={name}>
              <label>
                <input type="checkbox" checked={!hidden.has(name)} onChange={() => toggle(name)} />
                <span class={`swatch run-${i % COLORS}`} />
                <b>{name}</b>
              </label>
              <span class="state">{describeState(run)}</span>
              {warningsOf(run).map((words) => (
                <p class="warning" key={words}>
                  {words}
                </p>
              ))}
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function describeState(run: FetchedRun): string {
  const last = run.steps.at(-1);
  const length = stepsOf(run);
  const stage = stageOf(run);
  const knn = run.evaluations.findLast((line) => line.knn)?.knn;
  const linear = run.evaluations.findLast((line) => line.linear)?.linear;
  return [
    stage,
    ...(last
      ? [`step ${last.step}${length === undefined ? "" : ` of ${length}`}`, `loss ${last.loss.toFixed(3)}`]
      : []),
    ...(knn ? [`k-NN ${knn.top1.toFixed(1)} %`] : []),
    ...(linear ? [`linear ${linear.top1.toFixed(1)} %`] : []),
    ...(stage === "finished" ? [] : [`last line ${formatAge(run.state.log.ageMs)} ago`]),
  ].join(", ");
}
