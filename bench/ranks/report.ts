/** Tables and figure of the model of steps on many GPUs. */
import type { Chart } from "../../dino/pictures/charts.js";
import { figure, percent } from "../figures/format.js";
import type { Constant, ConstantName, Constants } from "./constants.js";
import type { Predicted, Timed } from "./measure.js";
import {
  efficiency,
  GPUS,
  leastImages,
  modelNames,
  type Scenario,
  timeOf,
  type Values,
  sendingNames,
} from "./scenarios.js";

/** Returns the values of the constants. */
export function valuesOf(constants: Constants): Values {
  const all = Object.entries(constants) as [ConstantName, Constant][];
  return Object.fromEntries(all.map(([name, { value }]) => [name, value])) as Record<ConstantName, number>;
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map((_, i) => (i === 0 ? "---" : "---:")), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

const ms = (seconds: number): string => figure(1000 * seconds);

export function constantsTable(constants: Constants): string {
  const rows = Object.entries(constants) as [ConstantName, Constant][];
  return table(
    ["`--assume`", "of", "value", "from"],
    rows.map(([name, { of, value, unit, source }]) => [
      `\`${name}\``,
      of,
      `${Number.isInteger(value) ? value : figure(value)} ${unit}`.trim(),
      source,
    ]),
  );
}

/** Formats measured times with their spread, a row each. */
export function measuredTable(rows: readonly (Timed & { readonly name: string; readonly bytes: number })[]): string {
  return table(
    ["what", "bytes", "least, ms", "quartiles, ms", "repeats"],
    rows.map(({ name, bytes, leastMs, quartilesMs, repeats }) => {
      return [name, `${bytes}`, figure(leastMs), quartilesMs.map(figure).join(", "), `${repeats}`];
    }),
  );
}

/** Formats measured sums next to the model. */
export function predictedTable(predicted: readonly Predicted[]): string {
  return table(
    ["ranks", "bytes", "least, ms", "median (quartiles)", "model, ms", "model over least", "algorithm"],
    predicted.map(({ ranks, bytes, measured, predictedMs, algorithm }) => {
      const [low, median, high] = measured.quartilesMs.map(figure);
      const ratio = (predictedMs / measured.leastMs).toFixed(2);
      const times = [figure(measured.leastMs), `${median!} (${low!} to ${high!})`, figure(predictedMs)];
      return [`${ranks}`, `${bytes}`, ...times, ratio, algorithm];
    }),
  );
}

/** Returns the error factor of the model: the geometric mean of larger over smaller, and the worst. */
export function deviation(predicted: readonly Predicted[]): { readonly usual: number; readonly worst: number } {
  const logs = predicted.map(({ measured, predictedMs }) => Math.abs(Math.log(predictedMs / measured.leastMs)));
  const mean = logs.reduce((sum, log) => sum + log, 0) / logs.length;
  return { usual: Math.exp(mean), worst: Math.exp(Math.max(...logs)) };
}

/** Networks of a machine, in Gbit/s: three common ones, and the eight ports of a DGX H100. */
const NETWORKS = [100, 200, 400, 3200] as const;

/** Formats time, efficiency and share of waiting by GPUs and networks, with gradients sent in pieces. */
export function scalingTable(values: Values, networks: readonly number[] = NETWORKS): string {
  const cell = (scenario: Scenario, networkGbit: number) => {
    const changed = { ...values, networkGbit };
    const { seconds, waitS } = timeOf(changed, scenario);
    return `${ms(seconds)} ms, ${percent(efficiency(changed, scenario))}, ${percent(waitS / seconds)}`;
  };
  return table(
    ["model", "Gbit/s", ...GPUS.map((gpus) => `${gpus} GPU${gpus === 1 ? "" : "s"}`)],
    modelNames.flatMap((model) =>
      networks.map((networkGbit) => [
        model,
        `${networkGbit}`,
        ...GPUS.map((gpus) => cell({ model, gpus, sending: "pieces" }, networkGbit)),
      ]),
    ),
  );
}

const MANY = GPUS.filter((gpus) => gpus > 1);

/** Formats the gain of sending in pieces and in f16, and the cost of one ring over all ranks. */
export function sendingTable(values: Values): string {
  const rows = modelNames.flatMap((model) => [
    ...sendingNames.map((sending) => ({ model, sending, flat: false })),
    { model, sending: "pieces" as const, flat: true },
  ]);
  return table(
    ["model", "gradients go", ...MANY.map((gpus) => `${gpus} GPUs: step, on the way, hidden`)],
    rows.map(({ model, sending, flat }) => [
      model,
      flat ? `in ${sending}, one ring over all` : `in ${sending}`,
      ...MANY.map((gpus) => {
        const { seconds, waitS, communicationS } = timeOf(values, { model, sending, gpus, flat });
        return `${ms(seconds)} ms, ${ms(communicationS)} ms, ${percent(Math.max(0, 1 - waitS / communicationS))}`;
      }),
    ]),
  );
}

/** Formats the minimum number of images per GPU with which it works at least as long as it waits. */
export function leastImagesTable(values: Values): string {
  return table(
    ["model", "gradients go", ...MANY.map((gpus) => `${gpus} GPUs`)],
    modelNames.flatMap((model) =>
      sendingNames.map((sending) => [
        model,
        `in ${sending}`,
        ...MANY.map((gpus) => `${leastImages(values, { model, sending, gpus }) ?? "never"}`),
      ]),
    ),
  );
}

/** Factors that make each constant twice as good. */
const IMPROVABLE = {
  tflops: 2,
  hostLinkGB: 2,
  networkGbit: 2,
  networkUs: 0.5,
  crossingUs: 0.5,
  sharedUs: 0.5,
  sharedGB: 2,
  networkAddGB: 2,
} as const satisfies Partial<Record<ConstantName, number>>;

/** Formats the time of a step on 64 GPUs with one constant twice as good. */
export function sensitivityTable(values: Values): string {
  const names = Object.keys(IMPROVABLE) as (keyof typeof IMPROVABLE)[];
  const cells = (at: Values) =>
    modelNames.map((model) => `${ms(timeOf(at, { model, gpus: 64, sending: "pieces" }).seconds)} ms`);
  return table(
    ["twice as fast", ...modelNames],
    [
      ["nothing", ...cells(values)],
      ...names.map((name) => [`\`${name}\``, ...cells({ ...values, [name]: values[name] * IMPROVABLE[name] })]),
    ],
  );
}

/** Returns a chart of efficiency by number of GPUs, a panel per model. */
export function efficiencyChart(values: Values): Chart {
  const gpus = Array.from({ length: 10 }, (_, i) => 2 ** i);
  const line = (name: string, at: Values, scenario: Omit<Scenario, "gpus">) => ({
    name,
    points: gpus.map((count) => [`${count}`, 100 * efficiency(at, { ...scenario, gpus: count })] as const),
  });
  const faster = { ...values, sharedGB: 4 * values.sharedGB };
  return {
    title: `Efficiency of ${values.images} images a GPU, on paper`,
    panels: modelNames.map((model) => ({
      title: model,
      x: "GPUs",
      y: "% of one GPU",
      points: true,
      series: [
        ...sendingNames.map((sending) => line(sending, values, { model, sending })),
        line("f16, memory x 4", faster, { model, sending: "pieces, f16" }),
        line("pieces, 100 Gbit/s", { ...values, networkGbit: 100 }, { model, sending: "pieces" }),
      ],
      marks: [{ y: 50, label: "waiting as long as working" }],
    })),
  };
}
