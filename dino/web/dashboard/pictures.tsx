/** Pictures of a run's teacher, step by step. */
import { useState } from "preact/hooks";
import { pictureName } from "../../run/picture-names.js";
import { addressOf } from "../shell/address.js";
import { RunChoice } from "./run-choice.js";
import type { FetchedRun } from "./run-client.js";

export const TITLES = { attention: "Attention of each head", features: "Patch features as colours" } as const;

export function Pictures({ runs }: { readonly runs: readonly FetchedRun[] }) {
  const drawn = runs.filter(({ state }) => state.pictures.length > 0);
  const [chosen, choose] = useState<string>();
  /** Selected step; undefined for the latest. */
  const [heldStep, holdStep] = useState<number>();
  const run = drawn.find(({ state }) => state.name === chosen) ?? drawn[0];
  return (
    <section aria-labelledby="pictures">
      <h2 id="pictures">Pictures</h2>
      {run === undefined ? (
        <p class="quiet">No pictures in this run; dino train --dashboard and --pictures-every draw them.</p>
      ) : (
        <Drawn run={run} heldStep={heldStep} holdStep={holdStep}>
          <RunChoice id="pictures-of" runs={drawn} run={run} choose={choose} />
        </Drawn>
      )}
    </section>
  );
}

interface DrawnProps {
  readonly run: FetchedRun;
  readonly heldStep: number | undefined;
  readonly holdStep: (step: number | undefined) => void;
  readonly children: preact.ComponentChildren;
}

function Drawn({ run: { state }, heldStep, holdStep, children }: DrawnProps) {
  const steps = [...new Set(state.pictures.flatMap((series) => series.steps))].sort((a, b) => a - b);
  const latest = steps.length - 1;
  const at =
    heldStep === undefined
      ? latest
      : Math.max(
          0,
          steps.findLastIndex((known) => known <= heldStep),
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
          onInput={({ currentTarget: { value } }) =>
            holdStep(Number(value) === latest ? undefined : steps[Number(value)])
          }
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
