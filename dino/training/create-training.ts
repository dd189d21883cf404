/** Student, teacher and the step that trains them, by the method of the settings. */
import type { Device } from "../../engine/index.js";
import type { Config } from "../config/settings.js";
import { networkConfig } from "../model/configure.js";
import { createNetwork, type Heads, type Network, type NetworkConfig } from "../model/network.js";
import type { Peers } from "./collectives.js";
import { createDinov2Step } from "./dinov2-step.js";
import type { TrainingStep } from "./step-inputs.js";
import { dinov2StepConfig, stepConfig } from "./step-options.js";
import { createStep } from "./step.js";

/** Student and teacher, and the step that trains them; owns all three. */
export interface Training extends Disposable {
  readonly student: Network;
  readonly teacher: Network;
  readonly step: TrainingStep;
}

/** Creates networks with all parameters zero, and records the step for this device's share of each batch. */
export function createTraining(
  device: Device,
  config: Config,
  { batch = config.batch, peers }: { readonly batch?: number; readonly peers?: Peers | undefined } = {},
): Promise<Training> {
  const { heads, ...network } = networkConfig(config);
  return "head" in heads
    ? trainingOf(device, { ...network, heads }, (networks) =>
        createStep(device, { ...networks, ...stepConfig(config), batch, peers }),
      )
    : trainingOf(device, { ...network, heads }, (networks) =>
        createDinov2Step(device, { ...networks, ...dinov2StepConfig(config, batch), peers }),
      );
}

/** Creates the networks, then the step; disposes of all if that fails. */
async function trainingOf<H extends Heads>(
  device: Device,
  config: NetworkConfig<H>,
  createStepOf: (networks: Readonly<Record<"student" | "teacher", Network<H>>>) => Promise<TrainingStep>,
): Promise<Training> {
  const student = createNetwork(device, config, "student");
  const teacher = createNetwork(device, config, "teacher");
  try {
    const step = await createStepOf({ student, teacher });
    const dispose = () => [step, student, teacher].forEach((owned) => owned[Symbol.dispose]());
    return { student, teacher, step, [Symbol.dispose]: dispose };
  } catch (error) {
    for (const network of [student, teacher]) network[Symbol.dispose]();
    throw error;
  }
}
