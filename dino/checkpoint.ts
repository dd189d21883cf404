/** Checkpoints: safetensors with the official parameter names for the teacher, and all that resuming needs beside it. */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import {
  type Choices,
  encodeSafetensors,
  parseSafetensors,
  safetensorsMetadata,
  type SafeTensor,
  type Shape,
} from "../engine/index.js";
import { writeFileAtomically } from "./checkpoint-file.js";
import { type Config, formatConfig, parseConfig } from "./config.js";

/** Numbers and their shape, on the host. */
export interface Values {
  readonly shape: Shape;
  readonly values: Float32Array;
}

/**
 * The state of a run after `step` steps. Names: `backbone.*` and `head.*` are the teacher's parameters (and statistics of
 * batch norms), `student.*` the student's under the same names, `center`, `optimizer.KIND.NAME` what the optimizer keeps,
 * and in f16 `loss_scale`.
 */
export interface Checkpoint {
  readonly config: Config;
  /** Steps done. */
  readonly step: number;
  /** Losses that no line of the log has yet: of the interval and of the epoch under way. */
  readonly unlogged: { readonly interval: Losses; readonly epoch: Losses };
  /** Which kernels the run was begun with, so that it goes on to the byte on a device that was tuned since. */
  readonly choices: Choices;
  readonly tensors: ReadonlyMap<string, Values>;
}

/** The losses of some steps, for their mean. */
export interface Losses {
  readonly sum: number;
  readonly count: number;
}

const FORMAT = "dino-webgpu 1";

const lossesSchema = z.object({ sum: z.number(), count: z.number() });
const choicesSchema = z.record(z.string(), z.string());
const unloggedSchema = z.object({ interval: lossesSchema, epoch: lossesSchema });

/** Writes a checkpoint whole or not at all. */
export async function writeCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  const { config, step, unlogged, choices, tensors } = checkpoint;
  const entries = [...tensors].map(([name, { shape, values }]): [string, SafeTensor] => [
    name,
    { dtype: "F32", shape, data: values },
  ]);
  const metadata = {
    format: FORMAT,
    step: String(step),
    unlogged: JSON.stringify(unlogged),
    choices: JSON.stringify(choices),
    config: formatConfig(config),
  };
  await writeFileAtomically(path, encodeSafetensors(entries, metadata));
}

/** Reads a checkpoint. Throws, naming the file, where there is none or it is none. */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new Error(`${path}: ${missing ? "there is no such checkpoint" : (error as Error).message}`, { cause: error });
  }
  try {
    const { format, step, unlogged, choices = "{}", config } = safetensorsMetadata(bytes);
    if (format !== FORMAT || step === undefined || unlogged === undefined || config === undefined) {
      throw new Error(
        `expected a checkpoint of format "${FORMAT}", got ${format === undefined ? "none" : `"${format}"`}`,
      );
    }
    const tensors = new Map<string, Values>();
    for (const [name, tensor] of parseSafetensors(bytes)) {
      if (tensor.dtype !== "F32") throw new Error(`${name} is ${tensor.dtype}, expected F32`);
      tensors.set(name, { shape: tensor.shape, values: tensor.data });
    }
    return {
      config: parseConfig(config),
      step: Number(step),
      unlogged: unloggedSchema.parse(JSON.parse(unlogged)),
      choices: choicesSchema.parse(JSON.parse(choices)),
      tensors,
    };
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** The numbers of all tensors under a prefix, by the rest of their name. */
export function under(prefix: string, { tensors }: Checkpoint): Map<string, Float32Array> {
  return new Map(
    [...tensors].flatMap(([name, { values }]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), values] as const] : [],
    ),
  );
}
