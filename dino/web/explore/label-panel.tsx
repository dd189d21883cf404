/** Labelling: the kept image or the selection, by typed name, button or the keys 1 to 9. */
import { useState } from "preact/hooks";
import { CHOSEN, type LabellingState } from "./use-labelling.js";

interface LabelPanelProps {
  readonly labels: LabellingState;
  /** Rows that get a label. */
  readonly rows: readonly number[];
}

/** Names with a key. */
const KEYS = 9;

export function LabelPanel({ labels, rows }: LabelPanelProps) {
  const { byRow, names, give, undo, canUndo, queue, choose, suggestions, suggest } = labels;
  const [typed, setTyped] = useState("");
  const isIdle = rows.length === 0;
  const giveTyped = (event: Event) => {
    event.preventDefault();
    if (typed.trim() === "" || isIdle) return;
    void give(rows, typed.trim());
    setTyped("");
  };
  return (
    <section aria-labelledby="labels">
      <h2 id="labels">Labels</h2>
      <p class="quiet">
        {isIdle
          ? "Click an image or select some, then type a name, or press the key of one."
          : `For ${rows.length === 1 ? "this image" : `${rows.length.toLocaleString("en")} images`}; ${byRow.size} labelled so far.`}
      </p>
      <form class="controls" onSubmit={giveTyped}>
        <input
          class="boxed typed"
          aria-label="Label"
          placeholder="Name"
          maxLength={100}
          value={typed}
          onInput={({ currentTarget }) => setTyped(currentTarget.value)}
        />
        <button type="submit" disabled={isIdle}>
          Label
        </button>
        <button type="button" disabled={isIdle} onClick={() => void give(rows, null)}>
          Remove
        </button>
        <button type="button" disabled={!canUndo} onClick={() => void undo()}>
          Undo <kbd>U</kbd>
        </button>
      </form>
      <div class="controls">
        {names.map((name, i) => (
          <button type="button" key={name} disabled={isIdle} onClick={() => void give(rows, name)}>
            {i < KEYS && <kbd>{i + 1}</kbd>} {name}
          </button>
        ))}
      </div>
      <div class="controls">
        <button type="button" onClick={() => void choose()}>
          Choose {CHOSEN} to label
        </button>
        <button type="button" disabled={new Set(byRow.values()).size < 2} onClick={() => void suggest()}>
          Suggest the rest
        </button>
      </div>
      {queue.length > 0 && <p class="quiet">{queue.length} of the chosen images are still to be labelled.</p>}
      {suggestions && (
        <p class="quiet">
          Of the labelled images, {Math.round(100 * suggestions.accuracy)} % get their label by the others. Colours and
          downloads have the suggestions and their confidence.
        </p>
      )}
    </section>
  );
}
