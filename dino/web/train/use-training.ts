/** Hook for the training of the page. */
import { proxy } from "comlink";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { Config } from "../../config/settings.js";
import type { Attempts } from "../shell/use-trouble.js";
import type { TrainingEvent, TrainingOutcome } from "./browser-training.js";
import type { RemoteTraining } from "./thread.js";
import { applyEvent, EMPTY_VIEW } from "./training-view.js";
import type { TrainingView } from "./training-view.js";

/** The minimum time between two updates of the page. */
const SHOWN_MS = 100;

/** "new" before the first training. */
export type Phase = "new" | "training" | "stopping" | TrainingOutcome | "broken";

export interface Training {
  /** The adapter; undefined until the thread has opened it. */
  readonly deviceName: string | undefined;
  readonly phase: Phase;
  readonly view: TrainingView;
  /** Trains from the first step. */
  readonly begin: (config: Config) => void;
  /** Continues a stopped training. */
  readonly goOn: () => void;
  /** Stops the training after the current step. */
  readonly stop: () => void;
}

export function useTraining(thread: RemoteTraining, attempt: Attempts["attempt"]): Training {
  const [deviceName, setDeviceName] = useState<string>();
  const [phase, setPhase] = useState<Phase>("new");
  const { view, emit, forget } = useTrainingView();
  useEffect(() => void attempt(async () => setDeviceName(await thread.open())), [attempt]);

  const run = (train: (onEvent: (event: TrainingEvent) => void) => Promise<TrainingOutcome>) =>
    void attempt(async () => {
      setPhase("training");
      let ended: Phase = "broken";
      try {
        ended = await train(proxy(emit));
      } finally {
        setPhase(ended);
        emit({ kind: "activity", activity: undefined });
      }
    });
  const begin = (config: Config) => {
    forget();
    run((onEvent) => thread.begin(config, onEvent));
  };
  const goOn = () => run((onEvent) => thread.goOn(onEvent));
  const stop = () => {
    setPhase("stopping");
    void thread.stop();
  };
  return { deviceName, phase, view, begin, goOn, stop };
}

/** Collects the events of a training, and updates the page at most once per `SHOWN_MS`. */
function useTrainingView() {
  const [view, setView] = useState<TrainingView>(EMPTY_VIEW);
  const known = useRef(EMPTY_VIEW);
  const timer = useRef<ReturnType<typeof setTimeout>>();
  const put = useCallback((next: TrainingView) => {
    known.current = next;
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      setView(known.current);
    }, SHOWN_MS);
  }, []);
  const emit = useCallback((event: TrainingEvent) => put(applyEvent(known.current, event)), [put]);
  const forget = useCallback(() => put(EMPTY_VIEW), [put]);
  return { view, emit, forget };
}
