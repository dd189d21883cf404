/** Times of the kernels of a step. */
import { useState } from "preact/hooks";
import { RunChoice } from "./run-choice.js";
import type { FetchedRun } from "./run-client.js";

/** Kernels shown initially. */
const FIRST = 10;

export function Kernels({ runs }: { readonly runs: readonly FetchedRun[] }) {
  const timed = runs.filter(({ profile }) => profile !== undefined);
  const [chosen, choose] = useState<string>();
  const [isWhole, setWhole] = useState(false);
  const run = timed.find(({ state }) => state.name === chosen) ?? timed[0];
  if (run?.profile === undefined) {
    return (
      <section aria-labelledby="kernels">
        <h2 id="kernels">Kernels of a step</h2>
        <p class="quiet">Not timed in this run; dino train --dashboard and --pictures-every time them.</p>
      </section>
    );
  }
  const { step, device, kernels } = run.profile;
  const total = kernels.reduce((sum, { ms }) => sum + ms, 0);
  return (
    <section aria-labelledby="kernels">
      <h2 id="kernels">Kernels of a step</h2>
      <div class="controls">
        <RunChoice id="kernels-of" runs={timed} run={run} choose={choose} />
        <p class="quiet">
          Step {step}: {total.toFixed(1)} ms on {device}
        </p>
      </div>
      <div class="scroll" role="region" tabIndex={0} aria-label="times of kernels">
        <table class="kernels">
          <thead>
            <tr>
              <th scope="col">Kernel</th>
              <th scope="col">Calls</th>
              <th scope="col">ms</th>
              <th scope="col">Share</th>
            </tr>
          </thead>
          <tbody>
            {kernels.slice(0, isWhole ? undefined : FIRST).map(({ kernel, calls, ms, share }) => (
              <tr key={kernel}>
                <th scope="row">{kernel}</th>
                <td>{calls}</td>
                <td>{ms.toFixed(2)}</td>
                <td>
                  <span class="bar" style={{ width: `${100 * share}px` }} /> {(100 * share).toFixed(1)} %
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {kernels.length > FIRST && (
        <button type="button" aria-expanded={isWhole} onClick={() => setWhole(!isWhole)}>
          {isWhole ? `The first ${FIRST}` : `All ${kernels.length}`}
        </button>
      )}
    </section>
  );
}
