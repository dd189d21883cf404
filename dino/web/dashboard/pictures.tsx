/** What the teacher of a run saw, step by step. */
import { useState } from "preact/hooks";
import { pictureName } from "../../run/picture-names.js";
import { addressOf } from "../shell/address.js";
import { RunChoice } from "./run-choice.js";
import type { FetchedRun } from "./run-client.js";

export const TITLES = { attention: "Attention of each head", features: "Patch features as colours" } as const;

export function Pictures({ runs }: { readonly runs: readonly FetchedRun[] }) {
  const drawn = runs.filter(({ state }) => state.pictures.length > 0);
  const [chosen, choose] = useState<string>();
  /** undefined for the latest one. */
  const [held, hold] = useState<number>();
  const run = drawn.find(({ state }) => state.name === chosen) ?? drawn[0];
  return (
    <section aria-labelledby="pictures">
      <h2 id="pictures">Pictures</h2>
      {run === undefined ? (
        <p class="quiet">None here; dino train --dashboard and --pictures-every draw them on the way.</p>
      ) : (
        <Drawn {...{ run, held, hold }}>
          <RunChoice id="pictures-of" runs={drawn} run={run} choose={choose} />
        </Drawn>
      )}
    </section>
  );
}

interface DrawnProps {
  readonly run: FetchedRun;
  readonly held: number | undefined;
  readonly hold: (step: number | undefined) => void;
  readonly children: preact.ComponentChildren;
}

function Drawn({ run: { state }, held, hold, children }: DrawnProps) {
  const steps = [...new Set(state.pictures.flatMap((series) => series.steps))].sort((a, b) => a - b);
  const latest = steps.length - 1;
  const at =
    held === undefined
      ? latest
      : Math.max(
          0,
          steps.findLastIndex((known) => known <= held),
        );
  const step = steps[at]!;
  return (
    <>
      <div class="controls">
        {children}
        <label for="step">Step</label>
        <input
          id="step"
          type="range"
          min={0}
          max={latest}
          value={at}
          aria-valuetext={`step ${step}`}
          onInput={({ currentTarget: { value } }) => hold(Number(value) === latest ? undefined : steps[Number(value)])}
        />
        <output for="step">{step}</output>
      </div>
      <div class="pictures">
        {state.pictures.map(({ kind, steps: own, width, height }) => {
          const drawnAt = own.findLast((known) => known <= step) ?? own[0]!;
          const file = `pictures/${pictureName(drawnAt, kind)}`;
          return (
            <figure key={kind}>
              <figcaption>
                <h3>{TITLES[kind]}</h3>
              </figcaption>
              <img
                src={addressOf("runs", state.name, file, state.log.version)}
                alt={`${TITLES[kind]} after ${drawnAt} steps`}
                {...{ width, height }}
              />
            </figure>
          );
        })}
      </div>
    </>
  );
}
