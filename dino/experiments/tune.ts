/** Measures which kernels are fastest for a training step on an adapter. */
import { type Choices, type Device, type Program, sizeOf, withChoices } from "../../engine/index.js";
import { WHOLE_BATCH } from "../batches/batch-shard.js";
import type { Config } from "../config/settings.js";
import { rng } from "../math/random.js";
import { networkConfig } from "../model/configure.js";
import { initialValues, writeNetwork } from "../model/network.js";
import { createTraining } from "../training/create-training.js";
import { drawMasks } from "../training/dinov2-masks.js";
import type { TrainingStep } from "../training/step-inputs.js";
import { maskOptions } from "../training/step-options.js";

export interface TuneOptions {
  readonly device: Device;
  /** Settings of the step. */
  readonly config: Config;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * A kernel choice and the time of each alternative within a step, in milliseconds; alternatives that the device lacks
 * are absent.
 */
export interface TuningSample {
  readonly what: string;
  readonly rule: string;
  readonly best: string;
  readonly ms: Readonly<Record<string, number>>;
}

export interface Tuned {
  /** Choices that beat the rule's by a twentieth or more. */
  readonly choices: Choices;
  readonly measured: readonly TuningSample[];
  /** Time of a whole step by the rules, and by the choices. */
  readonly ruleMs: number;
  readonly tunedMs: number;
}

/** Maximum time relative to the rule's for an alternative to win; closer results are noise. */
const CLEAR_WIN = 0.95;
const REPEATS = 3;
/** Relative tolerance between the losses of two alternatives, which differ by rounding only. */
const TOLERANCE = { f32: 1e-4, f16: 1e-2 };

/**
 * Records the training step of a configuration once per alternative and times every dispatch; chooses the alternative
 * that is clearly the fastest for an operation of a size. Throws if an alternative changes the loss.
 */
export async function tune({ device, config, onProgress = () => undefined }: TuneOptions): Promise<Tuned> {
  const byRule = await measure(withChoices(device, {}), config);
  const ways = [...new Set(byRule.decisions.flatMap(({ ways }) => ways))];
  const msByWay = new Map(byRule.decisions.map(({ what, way }) => [what, new Map([[way, byRule.ms.get(what) ?? 0]])]));
  onProgress(1, ways.length + 2);
  for (const [done, way] of ways.entries()) {
    const others = byRule.decisions.filter((decision) => decision.ways.includes(way) && decision.way !== way);
    if (others.length > 0) {
      const found = await measure(
        withChoices(device, Object.fromEntries(others.map(({ what }) => [what, way]))),
        config,
      );
      if (!(Math.abs(found.loss / byRule.loss - 1) <= TOLERANCE[config.precision])) {
        throw new Error(
          `tune: with ${way} the loss is ${found.loss}, by the rules ${byRule.loss}; a kernel is wrong on ${device.name}`,
        );
      }
      for (const { what } of others) msByWay.get(what)!.set(way, found.ms.get(what) ?? 0);
    }
    onProgress(done + 2, ways.length + 2);
  }
  const measured = byRule.decisions.map(({ what, way: rule }): TuningSample => {
    const ms = msByWay.get(what)!;
    const [fastest, least] = [...ms].reduce((best, found) => (found[1] < best[1] ? found : best));
    return { what, rule, best: least < CLEAR_WIN * ms.get(rule)! ? fastest : rule, ms: Object.fromEntries(ms) };
  });
  const choices = Object.fromEntries(measured.flatMap(({ what, rule, best }) => (best === rule ? [] : [[what, best]])));
  const tuned = await measure(withChoices(device, choices), config);
  onProgress(ways.length + 2, ways.length + 2);
  return { choices, measured, ruleMs: byRule.totalMs, tunedMs: tuned.totalMs };
}

/** Runs a step on random images; returns its loss, and the minimum time of each choice and of all dispatches. */
async function measure(device: Device, config: Config) {
  using training = await createTraining(device, config);
  const { student, teacher, step } = training;
  const values = initialValues(networkConfig(config), config);
  for (const network of [student, teacher]) writeNetwork(network, values);
  writeInputs(step, config);
  await step.program.run();
  const loss = await step.program.readScalar("loss");
  const runs: Awaited<ReturnType<typeof timesOf>>[] = [];
  for (let repeat = 0; repeat < REPEATS; repeat++) runs.push(await timesOf(step.program));
  const least = (pick: (run: (typeof runs)[number]) => number) => Math.min(...runs.map(pick));
  const { decisions } = step.program;
  const ms = new Map(decisions.map(({ what }) => [what, least((run) => run.ms.get(what) ?? 0)]));
  return { loss, decisions, ms, totalMs: least((run) => run.totalMs) };
}

/** Returns the milliseconds of a run by choice, and in total. */
async function timesOf(program: Program) {
  const ms = new Map<string, number>();
  let totalMs = 0;
  for (const span of await program.timeline()) {
    totalMs += span.ms;
    if (span.decision !== undefined) ms.set(span.decision, (ms.get(span.decision) ?? 0) + span.ms);
  }
  return { ms, totalMs };
}

/** Writes random inputs. */
function writeInputs(step: TrainingStep, config: Config): void {
  step.hyperparameters.write({ lr: 0, weightDecay: 0, momentum: 1, teacherTemperature: 0.04, frozen: 1 });
  const random = rng({ seed: 0, purpose: "tune" });
  for (const x of [step.globals, ...(step.locals ? [step.locals] : []), ...step.drops])
    x.write(Float32Array.from({ length: sizeOf(x.shape) }, () => random.uniform()));
  for (const order of step.orders) order.write(random.permutation(sizeOf(order.shape)));
  if (step.masks.length > 0) drawMasks(step.masks, maskOptions(config), { seed: 0, step: 0, shard: WHOLE_BATCH });
}
