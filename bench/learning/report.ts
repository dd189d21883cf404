/** Table and figure of the learning curves of both codes. */
import type { Chart, Panel } from "../../dino/pictures/charts.js";
import { figure } from "../figures/format.js";
import type { Learner, LearningCurve, RecipeCurves } from "./curves.js";
import { meanAndSpread, welch } from "./statistics.js";

/** Curves of a recipe by two learners, with the same seeds and steps. */
export interface Pair {
  readonly recipe: string;
  readonly learner: Exclude<Learner, "ours">;
  readonly ours: readonly LearningCurve[];
  readonly theirs: readonly LearningCurve[];
}

/** Selects the curves of the given seeds. Throws if one is missing. */
export function pairOf(
  { recipe, curves }: RecipeCurves,
  { learner, seeds }: { readonly learner: Pair["learner"]; readonly seeds: readonly number[] },
): Pair {
  const curvesOf = (name: Learner) =>
    seeds.map((seed) => {
      const found = curves[name]?.find((candidate) => candidate.seed === seed);
      if (!found) throw new Error(`${recipe}: no curve of ${name}, seed ${seed}`);
      return found;
    });
  return { recipe, learner, ours: curvesOf("ours"), theirs: curvesOf(learner) };
}

/** Significance level: a difference with a larger p counts as chance. */
const CHANCE = 0.05;

/** Formats as Markdown: k-NN of both after the same steps, the final difference, and the speeds. */
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

/** Display names of the learners. */
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

/** Returns a chart with a panel per recipe, mean and standard deviation of its curves, and a panel of steps per second. */
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
  // a panel's title may be too long for a bar
  const labelOf = (recipe: string) =>
    pairs.length === 1 ? recipe : `panel ${1 + pairs.findIndex((pair) => pair.recipe === recipe)}`;
  const names = [...new Set(pairs.map(({ learner }) => learner))];
  const speeds: Panel = {
    title: "Speed, on one machine",
    x: "recipe",
    y: "steps a second",
    bars: true,
    series: [
      { name: learnerNames.ours, points: pairs.map(({ recipe, ours }) => [labelOf(recipe), rate(ours)]) },
      ...names.map((name) => ({
        name: learnerNames[name],
        points: pairs
          .filter(({ learner }) => learner === name)
          .map(({ recipe, theirs }) => [labelOf(recipe), rate(theirs)] as const),
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
