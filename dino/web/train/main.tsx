/** The training page: a small run on the built-in images, on the visitor's device. */
import { type ComponentChildren, render } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import "../dashboard/style.css";
import "./style.css";
import { Curves } from "../dashboard/curves.js";
import { panels } from "../dashboard/panels.js";
import { Page, useHidden } from "../shell/page.js";
import { TroubleNote } from "../shell/trouble-note.js";
import { useAttempts, useFailure } from "../shell/use-trouble.js";
import { DrawnPictures } from "./drawn-pictures.js";
import { Results } from "./results.js";
import { SettingsFields } from "./settings-fields.js";
import { configOf, START } from "./settings.js";
import { TakeAway } from "./take-away.js";
import { startTrainingThread } from "./thread.js";
import type { TrainingView } from "./training-view.js";
import { type Phase, type Training, useTraining } from "./use-training.js";

const TITLE = "Train with DINO";
/** The curves of the dashboard that are informative for a short run. */
const SHOWN_PANELS = panels.filter(({ title }) =>
  [
    "Loss",
    "Parts of DINOv2's loss",
    "Entropy and KL divergence",
    "Gradient norm",
    "Learning rate",
    "Images per second",
  ].includes(title),
);

const { remote: thread, onFailure } = startTrainingThread();

function Train() {
  const failure = useFailure(onFailure);
  const { trouble, attempt } = useAttempts();
  const training = useTraining(thread, attempt);
  const { deviceName, phase, view, goOn } = training;
  const isBusy = failure === undefined && (phase === "training" || phase === "stopping");
  const share = view.progress ? view.progress.step / view.progress.steps : 0;
  useEffect(() => {
    document.title = isBusy ? `${Math.floor(100 * share)} % - ${TITLE}` : TITLE;
  }, [isBusy, share]);

  return (
    <Page name="Train" title={TITLE} status={statusOf(failure ? "broken" : phase, view)}>
      <p class="note">
        A small Vision Transformer learns to tell 2,000 sheets of shapes apart without being told what they show, here
        in this page{deviceName === undefined ? "" : `, on ${deviceName}`}. Nothing leaves this page. It takes seconds
        on a graphics card, and minutes without one.
      </p>
      <TrainingForm training={training} isBusy={isBusy}>
        {(phase === "stopped" || phase === "finished" || phase === "broken") && view.progress && (
          <TakeAway thread={thread} attempt={attempt} />
        )}
      </TrainingForm>
      {phase !== "new" && <progress max={1} value={share} aria-label="Steps done" />}
      {failure && <TroubleNote trouble={failure} />}
      {trouble && <TroubleNote trouble={trouble} {...(phase === "broken" && { goOn })} />}
      {isBusy && <BackgroundNote />}
      {view.warnings.map((words) => (
        <p class="warning" key={words}>
          {words}
        </p>
      ))}
      {phase !== "new" && <Findings view={view} />}
    </Page>
  );
}

interface TrainingFormProps {
  readonly training: Training;
  readonly isBusy: boolean;
  /** More buttons. */
  readonly children: ComponentChildren;
}

/** Settings, and buttons to start, stop and continue. */
function TrainingForm({ training, isBusy, children }: TrainingFormProps) {
  const { deviceName, phase, begin, goOn, stop } = training;
  const [fields, setFields] = useState(START);
  const wanted = useMemo(() => configOf(fields), [fields]);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if ("config" in wanted) begin(wanted.config);
      }}
    >
      <SettingsFields
        fields={fields}
        setFields={setFields}
        isBusy={isBusy}
        errors={"errors" in wanted ? wanted.errors : {}}
      />
      <div class="buttons">
        <button type="submit" class="strong" disabled={isBusy || deviceName === undefined || "errors" in wanted}>
          {phase === "new" ? "Train" : "Train anew"}
        </button>
        {isBusy && (
          <button type="button" disabled={phase === "stopping"} onClick={stop}>
            Stop
          </button>
        )}
        {phase === "stopped" && (
          <button type="button" class="strong" onClick={goOn}>
            Go on
          </button>
        )}
        {children}
      </div>
    </form>
  );
}

/** Describes how the training behaves in the background. */
function BackgroundNote() {
  const isHidden = useHidden();
  return (
    <p class="quiet note">
      {isHidden
        ? "The training goes on while this page is hidden, though browsers may give it less of the device; phones may stop it."
        : "It goes on while you look at another tab, if slower, as long as this page stays open."}
    </p>
  );
}

/** Accuracy, curves and pictures of the training. */
function Findings({ view: { lines, measured, drawn } }: { readonly view: TrainingView }) {
  const shown = useMemo(
    () => [{ run: { state: { name: "this page" }, steps: lines, evaluations: [] }, color: 0 }],
    [lines],
  );
  return (
    <>
      <Results measured={measured} />
      <Curves panels={SHOWN_PANELS} shown={shown} />
      <DrawnPictures drawn={drawn} />
    </>
  );
}

function statusOf(phase: Phase, { activity, progress }: TrainingView): string {
  const at = progress && `step ${progress.step} of ${progress.steps}, loss ${progress.loss.toFixed(3)}`;
  switch (phase) {
    case "new":
      return "";
    case "training":
      return activity ?? (at ? `Training: ${at}, ${progress.imagesPerSecond.toFixed(0)} images/s` : "Training");
    case "stopping":
      return "Stopping after this step";
    case "stopped":
    case "broken":
      return at ? `Stopped: ${at}` : "Stopped";
    case "finished":
      return at ? `Finished: ${at}` : "Finished";
    default:
      return phase satisfies never;
  }
}

render(<Train />, document.body);
