/** What the page has been told of a course. */
import type { StepLine } from "../../run/log.js";
import type { Progress } from "../../training/trainer.js";
import type { CourseEvent, DrawnStep, Measurement } from "./browser-training.js";

export interface TrainingView {
  readonly lines: readonly StepLine[];
  readonly drawn: readonly DrawnStep[];
  readonly measured: readonly Measurement[];
  readonly warnings: readonly string[];
  readonly progress: Progress | undefined;
  /** What is done besides training, where that is what is done. */
  readonly aside: string | undefined;
}

export const NOTHING: TrainingView = {
  ...{ lines: [], drawn: [], measured: [], warnings: [] },
  ...{ progress: undefined, aside: undefined },
};

/** What is known after one more event. */
export function after(seen: TrainingView, event: CourseEvent): TrainingView {
  switch (event.kind) {
    case "begins": {
      const isBefore = ({ step }: { readonly step: number }) => step <= event.step;
      const { progress } = seen;
      return {
        ...seen,
        lines: seen.lines.filter(isBefore),
        drawn: seen.drawn.filter(isBefore),
        progress: progress && isBefore(progress) ? progress : undefined,
      };
    }
    case "aside":
      return { ...seen, aside: event.words };
    case "progress":
      return { ...seen, progress: event.progress };
    case "line":
      return { ...seen, lines: [...seen.lines, event.line] };
    case "drawn":
      return { ...seen, drawn: [...seen.drawn.filter(({ step }) => step < event.drawn.step), event.drawn] };
    case "measured":
      return { ...seen, measured: [...seen.measured.filter(({ of }) => of !== event.measured.of), event.measured] };
    case "warning":
      return { ...seen, warnings: [...seen.warnings, event.words] };
    default:
      return event satisfies never;
  }
}
