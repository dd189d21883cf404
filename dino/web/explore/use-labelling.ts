/** Labelling with help: images chosen to be labelled one after another, and labels suggested for the rest. */
import { useState } from "preact/hooks";
import type { Suggestions } from "../../explorer/api.js";
import type { Attempts } from "../shell/use-trouble.js";
import { chooseRows, suggestLabels } from "./source.js";
import type { LabelState } from "./use-labels.js";

/** Images that are chosen at a time. */
export const CHOSEN = 20;

export interface LabellingState extends LabelState {
  /** Chosen images that are still to be labelled. */
  readonly queue: readonly number[];
  readonly choose: () => Promise<void>;
  readonly suggestions: Suggestions | undefined;
  readonly suggest: () => Promise<void>;
}

interface LabellingOptions {
  readonly attempt: Attempts["attempt"];
  /** Shows an image of the queue. */
  readonly show: (row: number) => void;
  /** Called with new suggestions. */
  readonly onSuggested: () => void;
}

export function useLabelling(labels: LabelState, { attempt, show, onSuggested }: LabellingOptions): LabellingState {
  const [queue, setQueue] = useState<readonly number[]>([]);
  const [suggestions, setSuggestions] = useState<Suggestions>();
  const goOn = (rows: readonly number[]): void => {
    setQueue(rows);
    if (rows[0] !== undefined) show(rows[0]);
  };
  return {
    ...labels,
    queue,
    suggestions,
    give: async (rows, label) => {
      await labels.give(rows, label);
      if (rows.some((row) => queue.includes(row))) goOn(queue.filter((row) => !rows.includes(row)));
    },
    choose: () => attempt(async () => goOn(await chooseRows(CHOSEN))),
    suggest: () =>
      attempt(async () => {
        setSuggestions(await suggestLabels());
        onSuggested();
      }),
  };
}
