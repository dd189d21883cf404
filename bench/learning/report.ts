/** Learning curves of both codes as a table and as a figure. */
import type { Chart, Panel } from "../../dino/pictures/charts.js";
import { figure } from "../figures/format.js";
import type { Learner, LearningCurve, RecipeCurves } from "./curves.js";
import { meanAndSpread, welch } from "./statistics.js";

/** Curves of a recipe by two learners, of the same seeds and steps. */
export interface Pair {
  readonly recipe: string;
  readonly learner: Exclude<Learner, "ours">;
  readonly ours: readonly LearningCurve[];
  readonly theirs: readonly LearningCurve[];
}

/** The curves of those seeds. Throws where one is missing. */
export function pairOf(
  { recipe, curves }: RecipeCurves,
  { learner, seeds }: { readonly learner: Pair["learner"]; readonly seeds: readonly number[] },
): Pair {
  const of = (name: Learner) =>
    seeds.map((seed) => {
      const found = curves[name]?.find((candidate) => candidate.seed === seed);
      if (!found) throw new Error(`${recipe}: no curve of ${name}, seed ${seed}`);
      return found;
    });
  return { recipe, learner, ours: of("ours"), theirs: of(learner) };
}

/** A difference is taken for chance where one as large comes about at least so often between equals. */
const CHANCE = 0.05;

/** k-NN of both after the same steps, then how far apart they end and how fast they are; as Markdown. */
export function learningTable({ recipe, learner, ours, theirs }: Pair): string {
  const steps = ours[0]!.points.map(([step]) => step);
  const at = (curves: readonly LearningCurve[], place: number) => curves.map(({ points }) => points[place]![1]);
  const row = (step: number, place: number): string => {
    const [own, other] = [at(ours, place), at(theirs, place)];
    const test = welch(own, other);
    const cells = [
      ...[
        `${step}`,
        formatMeanAndSpread(own),
        formatMeanAndSpread(other),
        signed(meanAndSpread(own).mean - meanAndSpread(other).mean),
      ],
      ...(test ? [signed(test.t), test.p.toFixed(3)] : ["", ""]),
    ];
    return `| ${cells.join(" | ")} |`;
  };
  return [
    `${recipe}: k-NN of the teacher on held-out images in percent, mean (spread) of ${ours.length} ${ours.length === 1 ? "seed" : "seeds"}`,
    "",
    `| steps | ours | ${learnerNames[learner]} | difference | Welch's t | p |`,
    "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ...steps.map(row),
    "",
    verdict(at(ours, steps.length - 1), at(theirs, steps.length - 1)),
    ...[speed("ours", ours), speed(learnerNames[learner], theirs)],
  ].join("\n");
}

/** Learners as people call them. */
const learnerNames: Record<Learner, string> = {
  ours: "ours",
  official: "official code",
  "official+start": "official code, our start values",
  "official+crops": "official code, our crops",
  "official+start+crops": "official code, our start values and crops",
};

function verdict(ours: readonly number[], theirs: readonly number[]): string {
  const difference = signed(meanAndSpread(ours).mean - meanAndSpread(theirs).mean);
  const test = welch(ours, theirs);
  if (!test) return `At the end ours differs by ${difference} points; more seeds tell whether by chance.`;
  const judged = test.p >= CHANCE ? "within chance" : "beyond chance";
  return `At the end ours differs by ${difference} points, ${judged}: t ${signed(test.t)}, p ${test.p.toFixed(3)}.`;
}

function speed(name: string, curves: readonly LearningCurve[]): string {
  const devices = [...new Set(curves.map(({ device }) => device))].join("; ");
  return `Steps a second, ${name}: ${figure(meanAndSpread(curves.map(({ stepsPerSecond }) => stepsPerSecond)).mean)} (${devices})`;
}

function formatMeanAndSpread(values: readonly number[]): string {
  const { mean, spread } = meanAndSpread(values);
  return values.length > 1 ? `${mean.toFixed(1)} (${spread.toFixed(1)})` : mean.toFixed(1);
}

function signed(value: number): string {
  return `${value > 0 ? "+" : ""}${value.toFixed(1)}`;
}

/** A panel of curves for each recipe, mean and one standard deviation around it, and one of steps a second. */
export function learningChart(pairs: readonly Pair[]): Chart {
  const seeds = [...new Set(pairs.map(({ ours }) => ours.length))].join(", ");
  const curves = pairs.map(({ recipe, learner, ours, theirs }): Panel => ({
    title: recipe,
    x: "step",
    y: "k-NN of the teacher, %",
    points: true,
    series: [curve(learnerNames.ours, ours), curve(learnerNames[learner], theirs)],
  }));
  const rate = (all: readonly LearningCurve[]) => meanAndSpread(all.map(({ stepsPerSecond }) => stepsPerSecond)).mean;
  const names = [...new Set(pairs.map(({ learner }) => learner))];
  const speeds: Panel = {
    title: "Speed, on one machine",
    x: "recipe",
    y: "steps a second",
    bars: true,
    series: [
      { name: learnerNames.ours, points: pairs.map(({ recipe, ours }) => [recipe, rate(ours)]) },
      ...names.map((name) => ({
        name: learnerNames[name],
        points: pairs
          .filter(({ learner }) => learner === name)
          .map(({ recipe, theirs }) => [recipe, rate(theirs)] as const),
      })),
    ],
  };
  const title = `Accuracy on held-out images while learning: mean and standard deviation of ${seeds} seeds`;
  return { title, panels: [...curves, speeds] };
}

function curve(name: string, learnt: readonly LearningCurve[]): Panel["series"][number] {
  const places = learnt[0]!.points.map(([step], place) => ({
    step,
    ...meanAndSpread(learnt.map(({ points }) => points[place]![1])),
  }));
  return {
    name,
    points: places.map(({ step, mean }) => [step, mean]),
    band: places.map(({ step, mean, spread }) => [step, mean - spread, mean + spread]),
  };
}
