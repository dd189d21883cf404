/** The page that trains: a small run on the built-in images, on the visitor's own device. */
import { proxy } from "comlink";
import { render } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import { Curves } from "../dashboard/curves.js";
import { panels } from "../dashboard/panels.js";
import "../dashboard/style.css";
import { keepModel } from "../shell/kept-model.js";
import { Page, useHidden } from "../shell/page.js";
import { asTrouble, TroubleNote } from "../shell/trouble-note.js";
import type { Trouble } from "../shell/trouble.js";
import type { CourseEvent, Ended } from "./browser-training.js";
import { DrawnPictures } from "./drawn-pictures.js";
import { Results } from "./results.js";
import { configOf, type Field, type Fields, FIELDS, START } from "./settings.js";
import "./style.css";
import { startTrainingThread } from "./thread.js";
import { after, NOTHING, type Seen } from "./training-view.js";

const TITLE = "Train with DINO";
/** Between two looks at what the thread told: more often nobody sees. */
const SHOWN_MS = 100;
/** Of the dashboard's curves, those that say something of so short a run. */
const SHOWN_PANELS = panels.filter(({ title }) =>
  ["Loss", "Entropy and KL divergence", "Gradient norm", "Learning rate", "Images per second"].includes(title),
);

const { ask: thread, onFailure } = startTrainingThread();

/** "new" before the first training. */
type Phase = "new" | "training" | "stopping" | Ended | "broken";

function Train() {
  const [deviceName, setDeviceName] = useState<string>();
  const [phase, setPhase] = useState<Phase>("new");
  const [fields, setFields] = useState<Fields>(START);
  const [trouble, setTrouble] = useState<Trouble>();
  /** Of the thread, which nothing mends but another one. */
  const [failure, setFailure] = useState<Trouble>();
  const { seen, tell, forget } = useSeen();
  const isHidden = useHidden();
  const wanted = useMemo(() => configOf(fields), [fields]);
  const isBusy = failure === undefined && (phase === "training" || phase === "stopping");

  const attempt = useCallback(async (work: () => Promise<void>) => {
    setTrouble(undefined);
    try {
      await work();
    } catch (error) {
      setTrouble(asTrouble(error));
    }
  }, []);
  useEffect(() => onFailure(setFailure), []);
  useEffect(() => void attempt(async () => setDeviceName(await thread.open())), [attempt]);

  const run = (how: (tell: (event: CourseEvent) => void) => Promise<Ended>) =>
    void attempt(async () => {
      setPhase("training");
      let ended: Phase = "broken";
      try {
        ended = await how(proxy(tell));
      } finally {
        setPhase(ended);
        tell({ kind: "aside", words: undefined });
      }
    });
  const begin = () => {
    if (!("config" in wanted)) return;
    forget();
    run((report) => thread.begin(wanted.config, report));
  };
  const goOn = () => run((report) => thread.goOn(report));
  const stop = () => {
    setPhase("stopping");
    void thread.stop();
  };

  const { progress } = seen;
  const share = progress ? progress.step / progress.steps : 0;
  useEffect(() => {
    document.title = isBusy ? `${Math.floor(100 * share)} % - ${TITLE}` : TITLE;
  }, [isBusy, share]);
  const shown = useMemo(
    () => [{ run: { state: { name: "this page" }, steps: seen.lines, evaluations: [] }, color: 0 }],
    [seen.lines],
  );

  return (
    <Page name="Train" title={TITLE} status={statusOf(failure ? "broken" : phase, seen)}>
      <p class="note">
        A small Vision Transformer learns to tell 2,000 sheets of shapes apart without being told what they show, here
        in this page{deviceName === undefined ? "" : `, on ${deviceName}`}. Nothing leaves this page. It takes seconds
        on a graphics card, and minutes without one.
      </p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          begin();
        }}
      >
        <Settings {...{ fields, setFields, isBusy }} errors={"errors" in wanted ? wanted.errors : {}} />
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
          {(phase === "stopped" || phase === "finished" || phase === "broken") && progress && (
            <TakeAway attempt={attempt} />
          )}
        </div>
      </form>
      {phase !== "new" && <progress max={1} value={share} aria-label="Steps done" />}
      {failure && <TroubleNote trouble={failure} />}
      {trouble && <TroubleNote trouble={trouble} {...(phase === "broken" && { goOn })} />}
      {isBusy && (
        <p class="quiet note">
          {isHidden
            ? "The training goes on while this page is hidden, though browsers may give it less of the device; phones may stop it."
            : "It goes on while you look at another tab, if slower, as long as this page stays open."}
        </p>
      )}
      {seen.warnings.map((words) => (
        <p class="warning" key={words}>
          {words}
        </p>
      ))}
      {phase !== "new" && (
        <>
          <Results measured={seen.measured} />
          <Curves panels={SHOWN_PANELS} shown={shown} />
          <DrawnPictures drawn={seen.drawn} />
        </>
      )}
    </Page>
  );
}

interface SettingsProps {
  readonly fields: Fields;
  readonly setFields: (fields: Fields) => void;
  readonly errors: Readonly<Partial<Record<Field, string>>>;
  readonly isBusy: boolean;
}

function Settings({ fields, setFields, errors, isBusy }: SettingsProps) {
  const names = Object.keys(FIELDS) as Field[];
  return (
    <>
      <div class="fields">
        {names.map((name) => (
          <label key={name}>
            {FIELDS[name]}
            <input
              class="boxed"
              name={name}
              inputMode="numeric"
              value={fields[name]}
              disabled={isBusy}
              aria-invalid={errors[name] !== undefined}
              aria-describedby={errors[name] === undefined ? undefined : `wrong-${name}`}
              onInput={({ currentTarget: { value } }) => setFields({ ...fields, [name]: value })}
            />
          </label>
        ))}
      </div>
      {names.map(
        (name) =>
          errors[name] !== undefined && (
            <p class="trouble note" id={`wrong-${name}`} key={name}>
              {errors[name]}
            </p>
          ),
      )}
    </>
  );
}

/** What to do with the model: a file of it, or a look through it. */
function TakeAway({ attempt }: { readonly attempt: (work: () => Promise<void>) => Promise<void> }) {
  const download = async () => {
    const { step, bytes } = (await thread.checkpoint())!;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
    link.download = `shapes-step-${step}.safetensors`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  const look = async () => {
    const { step, bytes } = (await thread.checkpoint())!;
    await keepModel(bytes, `shapes trained here, step ${step}`);
    location.href = "./viewer.html";
  };
  return (
    <>
      <button type="button" onClick={() => void attempt(download)}>
        Download the checkpoint
      </button>
      <button type="button" onClick={() => void attempt(look)}>
        Look with it in the viewer
      </button>
    </>
  );
}

/** What the thread has told, shown now and then. */
function useSeen() {
  const [seen, setSeen] = useState<Seen>(NOTHING);
  const known = useRef(NOTHING);
  const timer = useRef<ReturnType<typeof setTimeout>>();
  const put = useCallback((next: Seen) => {
    known.current = next;
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      setSeen(known.current);
    }, SHOWN_MS);
  }, []);
  const tell = useCallback((event: CourseEvent) => put(after(known.current, event)), [put]);
  const forget = useCallback(() => put(NOTHING), [put]);
  return { seen, tell, forget };
}

function statusOf(phase: Phase, { aside, progress }: Seen): string {
  const at = progress && `step ${progress.step} of ${progress.steps}, loss ${progress.loss.toFixed(3)}`;
  switch (phase) {
    case "new":
      return "";
    case "training":
      return aside ?? (at ? `Training: ${at}, ${progress.imagesPerSecond.toFixed(0)} images/s` : "Training");
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
