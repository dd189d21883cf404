/** The state of a training as the page shows it. */
import type { StepLine } from "../../run/log.js";
import type { Progress } from "../../training/trainer.js";
import type { TrainingEvent, DrawnStep, Measurement } from "./browser-training.js";

export interface TrainingView {
  readonly lines: readonly StepLine[];
  readonly drawn: readonly DrawnStep[];
  readonly measured: readonly Measurement[];
  readonly warnings: readonly string[];
  readonly progress: Progress | undefined;
  /** Current work other than training, if any. */
  readonly activity: string | undefined;
}

export const EMPTY_VIEW: TrainingView = {
  lines: [],
  drawn: [],
  measured: [],
  warnings: [],
  progress: undefined,
  activity: undefined,
};

/** Returns the state after an event. */
export function applyEvent(view: TrainingView, event: TrainingEvent): TrainingView {
  switch (event.kind) {
    case "begins": {
      const isBefore = ({ step }: { readonly step: number }) => step <= event.step;
      const { progress } = view;
      return {
        ...view,
        lines: view.lines.filter(isBefore),
        drawn: view.drawn.filter(isBefore),
        progress: progress && isBefore(progress) ? progress : undefined,
      };
    }
    case "activity":
      return { ...view, activity: event.activity };
    case "progress":
      return { ...view, progress: event.progress };
    case "line":
      return { ...view, lines: [...view.lines, event.line] };
    case "drawn":
      return { ...view, drawn: [...view.drawn.filter(({ step }) => step < event.drawn.step), event.drawn] };
    case "measured":
      return { ...view, measured: [...view.measured.filter(({ of }) => of !== event.measured.of), event.measured] };
    case "warning":
      return { ...view, warnings: [...view.warnings, event.warning] };
    default:
      return event satisfies never;
  }
}
