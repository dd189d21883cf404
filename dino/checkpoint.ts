/**
 * Checkpoints: safetensors with the official parameter names for the teacher, and all that resuming needs beside it. Model
 * files: the same without what resuming needs.
 */
import { createHash } from "node:crypto";
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
import { type Config, defaultConfig, formatConfig, parseConfig } from "./config.js";
import { openFile, readSafetensorsHeader } from "./weights/file.js";
import { shown } from "./weights/words.js";

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

/** A network and the settings that describe it. */
export interface ModelFile {
  readonly config: Config;
  /** Under the names that a checkpoint has them. */
  readonly tensors: ReadonlyMap<string, Values>;
  /** Whether a run trained it, as its settings say; else they are defaults, but for the network and its view of images. */
  readonly isTrained: boolean;
}

/** The losses of some steps, for their mean. */
export interface Losses {
  readonly sum: number;
  readonly count: number;
}

const FORMAT = "dino-webgpu 1";
const MODEL_FORMAT = "dino-webgpu model 1";

const lossesSchema = z.object({ sum: z.number(), count: z.number() });
const choicesSchema = z.record(z.string(), z.string());
const unloggedSchema = z.object({ interval: lossesSchema, epoch: lossesSchema });

/** Writes a checkpoint whole or not at all. What was there stays under the name `keep`. */
export async function writeCheckpoint(
  path: string,
  checkpoint: Checkpoint,
  options: { readonly keep?: string } = {},
): Promise<void> {
  const { config, step, unlogged, choices, tensors } = checkpoint;
  const metadata = {
    format: FORMAT,
    step: String(step),
    unlogged: JSON.stringify(unlogged),
    choices: JSON.stringify(choices),
    config: formatConfig(config),
  };
  await writeTensors(path, tensors, metadata, options);
}

/** Writes a network that no run can go on from, whole or not at all. */
export async function writeModel(path: string, { config, tensors }: Omit<ModelFile, "isTrained">): Promise<void> {
  await writeTensors(path, tensors, { format: MODEL_FORMAT, config: formatConfig(config) });
}

async function writeTensors(
  path: string,
  tensors: ReadonlyMap<string, Values>,
  metadata: Readonly<Record<string, string>>,
  options: { readonly keep?: string } = {},
): Promise<void> {
  const entries = [...tensors].map(([name, { shape, values }]): [string, SafeTensor] => [
    name,
    { dtype: "F32", shape, data: values },
  ]);
  const bytes = encodeSafetensors(entries, { ...metadata, checksum: NO_CHECKSUM });
  bytes.set(Buffer.from(checksumOf(bytes, NO_CHECKSUM)), placeOf(bytes, NO_CHECKSUM));
  await writeFileAtomically(path, bytes, options);
}

const NO_CHECKSUM = `sha256:${"0".repeat(64)}`;

/** Of all bytes of a file, with zeros in the place of the checksum that it holds. */
function checksumOf(bytes: Uint8Array, held: string): string {
  const at = placeOf(bytes, held);
  const hash = createHash("sha256").update(bytes.subarray(0, at)).update(NO_CHECKSUM);
  return `sha256:${hash.update(bytes.subarray(at + held.length)).digest("hex")}`;
}

function placeOf(bytes: Uint8Array, checksum: string): number {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(checksum);
}

/** Throws where a file is not what was written. Files of before there were checksums pass. */
function verify(bytes: Uint8Array, { checksum }: Readonly<Record<string, string>>): void {
  if (checksum === undefined || checksum === checksumOf(bytes, checksum)) return;
  throw new Error("its checksum is not that of its bytes: the file is damaged");
}

/** Reads a checkpoint. Throws, naming the file, where there is none or it is none, a model file included. */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  return read(path, (metadata, tensors) => ({ ...runIn(metadata), tensors }));
}

/** A file that is no checkpoint any more, and why. */
export interface Damaged {
  readonly path: string;
  readonly message: string;
}

/** The first of some checkpoints that is whole, and what is wrong with those before it. Throws where none is. */
export async function readFirstWhole(
  paths: readonly string[],
): Promise<{ readonly checkpoint: Checkpoint; readonly path: string; readonly damaged: readonly Damaged[] }> {
  const damaged: Damaged[] = [];
  for (const path of paths) {
    try {
      return { checkpoint: await readCheckpoint(path), path, damaged };
    } catch (error) {
      damaged.push({ path, message: (error as Error).message });
    }
  }
  throw new Error(damaged.map(({ message }) => message).join("; "));
}

/** How many steps the run of a checkpoint has done, out of the file's header alone. Throws as readCheckpoint does. */
export async function stepsDone(path: string): Promise<number> {
  try {
    await using file = await openFile(path);
    return runIn((await readSafetensorsHeader(file)).metadata).step;
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** What the notes of a checkpoint say of its run. Throws for those of other files. */
function runIn(metadata: Readonly<Record<string, string>>): Omit<Checkpoint, "tensors"> {
  const { format, step, unlogged, choices = "{}", config } = metadata;
  if (format === MODEL_FORMAT) {
    throw new Error("this is a model without the state of a run; begin a run from it with --init");
  }
  if (format !== FORMAT || step === undefined || unlogged === undefined || config === undefined) {
    throw new Error(
      `expected a checkpoint of format "${FORMAT}", got ${format === undefined ? "none" : `"${shown(format)}"`}`,
    );
  }
  if (!/^\d{1,15}$/.test(step)) throw new Error(`expected a number of steps, got "${shown(step)}"`);
  return {
    config: parseConfig(config),
    step: Number(step),
    unlogged: unloggedSchema.parse(JSON.parse(unlogged)),
    choices: choicesSchema.parse(JSON.parse(choices)),
  };
}

/** Reads the networks of a checkpoint or of a model file. Throws, naming the file, where there is none or it is neither. */
export async function readModel(path: string): Promise<ModelFile> {
  return read(path, (metadata, tensors) => {
    const config = settingsIn(metadata);
    if (config === undefined) {
      throw new Error(
        "expected a checkpoint of training or a model that `dino import` wrote; dino import reads other files",
      );
    }
    return { config, tensors, isTrained: metadata["format"] === FORMAT };
  });
}

/** The settings in the notes of a file that this program wrote, today's defaults where it knew of none; else undefined. */
export function settingsIn({ format, config }: Readonly<Record<string, string>>): Config | undefined {
  if ((format !== FORMAT && format !== MODEL_FORMAT) || config === undefined) return undefined;
  return parseConfig(JSON.stringify({ ...defaultConfig, ...(JSON.parse(config) as object) }));
}

async function read<T>(
  path: string,
  interpret: (metadata: Readonly<Record<string, string>>, tensors: ReadonlyMap<string, Values>) => T,
): Promise<T> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new Error(`${path}: ${missing ? "there is no such checkpoint" : (error as Error).message}`, { cause: error });
  }
  try {
    const metadata = safetensorsMetadata(bytes);
    verify(bytes, metadata);
    const tensors = new Map<string, Values>();
    for (const [name, tensor] of parseSafetensors(bytes)) {
      if (tensor.dtype !== "F32") throw new Error(`${name} is ${tensor.dtype}, expected F32`);
      tensors.set(name, { shape: tensor.shape, values: tensor.data });
    }
    return interpret(metadata, tensors);
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** The numbers of all tensors under a prefix, by the rest of their name. */
export function under(prefix: string, { tensors }: Pick<Checkpoint, "tensors">): Map<string, Float32Array> {
  return new Map(
    [...tensors].flatMap(([name, { values }]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), values] as const] : [],
    ),
  );
}
