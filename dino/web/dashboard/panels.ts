/** Panels of the dashboard, and the points of their curves. */
import uPlot from "uplot";
import type { Accuracies, StepLine } from "../../run/log.js";
import type { FetchedRun } from "./run-client.js";

/** The parts of a run that curves are drawn from. */
export type RunLines = Pick<FetchedRun, "steps" | "evaluations">;

/** A quantity, with one curve per run. */
export type Quantity = { readonly name: string } & (
  | { readonly line: "step"; readonly of: (line: StepLine) => number | null | undefined }
  | { readonly line: "evaluation"; readonly of: (line: Accuracies) => number | undefined }
);

export interface CurvePanel {
  readonly title: string;
  readonly unit: string;
  /** Whether the y axis is logarithmic. */
  readonly logarithmic?: boolean;
  /** Distinguished by dashes. */
  readonly quantities: readonly Quantity[];
  /** Whether the panel is left out if no run has a point. */
  readonly onlyWithData?: boolean;
  /** Text if no run has a point. */
  readonly emptyText?: string;
}

const ofStep = (name: string, of: (line: StepLine) => number | null | undefined): Quantity => ({
  name,
  line: "step",
  of,
});
const ofEvaluation = (name: string, of: (line: Accuracies) => number | undefined): Quantity => ({
  name,
  line: "evaluation",
  of,
});

export const panels: readonly CurvePanel[] = [
  { title: "Loss", unit: "nats", quantities: [ofStep("loss", (line) => line.loss)] },
  {
    title: "Accuracy of k-NN and linear classifiers",
    unit: "%",
    quantities: [ofEvaluation("k-NN", (line) => line.knn?.top1), ofEvaluation("linear", (line) => line.linear?.top1)],
    emptyText: "Not measured yet; at the end where the images have classes, see --knn-every.",
  },
  {
    title: "Parts of DINOv2's loss",
    unit: "nats",
    onlyWithData: true,
    quantities: [
      ofStep("CLS tokens", (line) => line.clsLoss),
      ofStep("masked patches", (line) => line.patchLoss),
      ofStep("KoLeo", (line) => line.koleo),
    ],
  },
  {
    title: "Entropy and KL divergence",
    unit: "nats",
    quantities: [
      ofStep("entropy of the targets", (line) => line.teacherEntropy),
      ofStep("KL divergence", (line) => line.klDivergence),
      ofStep("entropy of their mean", (line) => line.meanTargetEntropy),
    ],
  },
  {
    title: "Gradient norm",
    unit: "before clipping",
    logarithmic: true,
    quantities: [ofStep("gradient norm", (line) => line.gradientNorm)],
  },
  { title: "Learning rate", unit: "", quantities: [ofStep("rate", (line) => line.lr)] },
  { title: "Teacher momentum", unit: "0 to 1", quantities: [ofStep("momentum", (line) => line.momentum)] },
  { title: "Teacher temperature", unit: "", quantities: [ofStep("temperature", (line) => line.teacherTemperature)] },
  { title: "Images per second", unit: "1/s", quantities: [ofStep("images/s", (line) => line.imagesPerSecond)] },
  {
    title: "Waited",
    unit: "ms a line",
    quantities: [
      ofStep("for images", (line) => line.dataWaitMs),
      ofStep("for other ranks, where there are several", (line) => line.peersWaitMs),
    ],
  },
];

/** Returns the curves of a panel over the union of steps, run by run; missing values are undefined. */
export function curvesOf({ quantities }: CurvePanel, runs: readonly RunLines[]): uPlot.AlignedData {
  if (runs.length === 0) return [[]];
  const tables = runs.flatMap(({ steps, evaluations }) =>
    quantities.map((quantity): uPlot.AlignedData => {
      const points: (readonly [number, number | null | undefined])[] =
        quantity.line === "step"
          ? steps.map((line) => [line.step, quantity.of(line)])
          : evaluations.map((line) => [line.step, quantity.of(line)]);
      const drawn = points.filter(([, value]) => value !== undefined);
      return [drawn.map(([step]) => step), drawn.map(([, value]) => value)];
    }),
  );
  return uPlot.join(tables);
}

/** Formats a number briefly. */
export function formatNumber(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return Number(value.toPrecision(3)).toExponential();
  return size >= 1000 ? value.toFixed(0) : `${Number(value.toPrecision(4))}`;
}
