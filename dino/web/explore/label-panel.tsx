/** Labelling: the kept image or the selection, by typed name, button or the keys 1 to 9. */
import { useState } from "preact/hooks";
import type { LabelState } from "./use-labels.js";

interface LabelPanelProps {
  readonly labels: LabelState;
  /** Rows that get a label. */
  readonly rows: readonly number[];
}

/** Names with a key. */
const KEYS = 9;

export function LabelPanel({ labels: { byRow, names, give, undo, canUndo }, rows }: LabelPanelProps) {
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
    </section>
  );
}
