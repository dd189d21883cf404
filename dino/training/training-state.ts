/** State of a training between two steps, as tensors of a checkpoint. */
import { download, upload } from "../../engine/index.js";
import { type Network, readNetwork, writeNetwork } from "../model/network.js";
import { type Checkpoint, isOfNetwork, under, type Values } from "../weights/checkpoint-bytes.js";
import type { Hyperparameter, TrainingStep } from "./step-inputs.js";

/** The state that a step changes. */
export interface TrainingState {
  readonly student: Network;
  readonly teacher: Network;
  readonly step: TrainingStep;
}

/** Reads all tensors of a checkpoint, by name. */
export async function stateOf({ student, teacher, step }: TrainingState): Promise<Map<string, Values>> {
  const tensors = new Map<string, Values>();
  const put = (
    prefix: string,
    values: ReadonlyMap<string, Float32Array>,
    shapes: ReadonlyMap<string, readonly number[]>,
  ) => {
    for (const [name, numbers] of values) tensors.set(prefix + name, { shape: shapes.get(name)!, values: numbers });
  };
  const shapesOf = (...layouts: (Network["params"] | undefined)[]) =>
    new Map(layouts.flatMap((params) => params?.layout.entries.map(({ name, shape }) => [name, shape] as const) ?? []));
  put("", await readNetwork(teacher), shapesOf(teacher.params, teacher.buffers));
  put("student.", await readNetwork(student), shapesOf(student.params, student.buffers));
  for (const [kind, params] of Object.entries(step.optimizer.state)) {
    put(`optimizer.${kind}.`, await params.read(), shapesOf(params));
  }
  for (const [name, center] of Object.entries(step.centers))
    tensors.set(name, { shape: center.shape, values: await download(center) });
  if (step.lossScale)
    tensors.set("loss_scale", { shape: step.lossScale.state.shape, values: await download(step.lossScale.state) });
  return tensors;
}

/** Restores the state from a checkpoint. Throws if names or sizes differ. */
export function restore({ student, teacher, step }: TrainingState, checkpoint: Checkpoint): void {
  const { tensors } = checkpoint;
  const weights = (prefix: string) => new Map([...under(prefix, checkpoint)].filter(([name]) => isOfNetwork(name)));
  writeNetwork(teacher, weights(""));
  writeNetwork(student, weights("student."));
  for (const [kind, params] of Object.entries(step.optimizer.state))
    params.write(under(`optimizer.${kind}.`, checkpoint));
  for (const [name, center] of Object.entries(step.centers)) upload(center, tensors.get(name)!.values);
  if (step.lossScale) upload(step.lossScale.state, tensors.get("loss_scale")!.values);
}

/** Returns the inputs of a step: crops, masks and hyperparameters. */
export async function batchOf(
  { globals, locals, masks }: TrainingStep,
  hyperparameters: Readonly<Record<Hyperparameter, number>>,
): Promise<Map<string, Values>> {
  const batch = new Map<string, Values>();
  for (const [name, crops] of Object.entries({ globals, locals })) {
    if (crops) batch.set(`batch.${name}`, { shape: crops.shape, values: await download(crops) });
  }
  for (const [part, { mask }] of masks.entries())
    batch.set(`batch.masks.${part}`, { shape: mask.shape, values: await download(mask) });
  for (const [name, value] of Object.entries(hyperparameters)) {
    batch.set(`knobs.${name}`, { shape: [], values: Float32Array.of(value) });
  }
  return batch;
}
