/**
 * What checkpoints and model files hold, wherever their bytes come from: safetensors with the official parameter names for the
 * teacher, and all that resuming needs beside it.
 */
import { z } from "zod";
import {
  type Choices,
  encodeSafetensors,
  parseSafetensors,
  safetensorsHeaderBytes,
  safetensorsMetadata,
  type SafeTensor,
  type Shape,
} from "../../engine/index.js";
import { formatConfig, parseConfig } from "../config/resolve.js";
import { type Config, defaultConfig } from "../config/settings.js";
import { printable } from "../files/text.js";

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

/** The SHA-256 of bytes that follow each other, in hexadecimal digits. */
export type Sha256 = (parts: readonly Uint8Array<ArrayBuffer>[]) => Promise<string>;

/** As pages, workers and Node have it: of less than 2 GiB, and in secure pages alone. */
const webSha256: Sha256 = async (parts) => {
  const bytes = await new Blob([...parts]).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

/** The bytes of a checkpoint's file. */
export async function encodeCheckpoint(
  { config, step, unlogged, choices, tensors }: Checkpoint,
  sha256 = webSha256,
): Promise<Uint8Array<ArrayBuffer>> {
  const metadata = {
    format: FORMAT,
    step: String(step),
    unlogged: JSON.stringify(unlogged),
    choices: JSON.stringify(choices),
    config: formatConfig(config),
  };
  return encodeTensors(tensors, metadata, sha256);
}

/** The bytes of a model file: of a network that no run can go on from. */
export async function encodeModel(
  { config, tensors }: Omit<ModelFile, "isTrained">,
  sha256 = webSha256,
): Promise<Uint8Array<ArrayBuffer>> {
  return encodeTensors(tensors, { format: MODEL_FORMAT, config: formatConfig(config) }, sha256);
}

async function encodeTensors(
  tensors: ReadonlyMap<string, Values>,
  metadata: Readonly<Record<string, string>>,
  sha256: Sha256,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = encodeSafetensors(asSafetensors(tensors), { ...metadata, checksum: NO_CHECKSUM });
  const checksum = new TextEncoder().encode(await checksumOf(bytes, NO_CHECKSUM, sha256));
  bytes.set(checksum, checksumOffset(bytes, NO_CHECKSUM));
  return bytes;
}

/** Tensors as encodeSafetensors takes them. */
export function asSafetensors(tensors: ReadonlyMap<string, Values>): readonly (readonly [string, SafeTensor])[] {
  return [...tensors].map(([name, { shape, values }]) => [name, { dtype: "F32", shape, data: values }]);
}

const NO_CHECKSUM = `sha256:${"0".repeat(64)}`;

/** Of all bytes of a file, with zeros in the place of the checksum that it holds. */
async function checksumOf(bytes: Uint8Array<ArrayBuffer>, held: string, sha256: Sha256): Promise<string> {
  const at = checksumOffset(bytes, held);
  const none = new TextEncoder().encode(NO_CHECKSUM);
  return `sha256:${await sha256([bytes.subarray(0, at), none, bytes.subarray(at + held.length)])}`;
}

/** Where the header of a file holds its checksum. */
function checksumOffset(bytes: Uint8Array, checksum: string): number {
  const header = bytes.subarray(0, safetensorsHeaderBytes(bytes, bytes.length));
  return new TextDecoder("latin1").decode(header).indexOf(checksum); // a letter a byte
}

/** Throws where a file is not what was written. Files of before there were checksums pass. */
async function verify(
  bytes: Uint8Array<ArrayBuffer>,
  { checksum }: Readonly<Record<string, string>>,
  sha256: Sha256,
): Promise<void> {
  if (checksum === undefined || checksum === (await checksumOf(bytes, checksum, sha256))) return;
  throw new Error("its checksum is not that of its bytes: the file is damaged");
}

/** A checkpoint out of the bytes of its file. Throws where they are none, of a model file included. */
export async function parseCheckpoint(bytes: Uint8Array<ArrayBuffer>, sha256 = webSha256): Promise<Checkpoint> {
  const { metadata, tensors } = await parseTensors(bytes, sha256);
  return { ...parseRunMetadata(metadata), tensors };
}

/** The networks out of the bytes of a checkpoint or of a model file. Throws where they are neither. */
export async function parseModel(bytes: Uint8Array<ArrayBuffer>, sha256 = webSha256): Promise<ModelFile> {
  const { metadata, tensors } = await parseTensors(bytes, sha256);
  const config = configFromMetadata(metadata);
  if (config === undefined) {
    throw new Error(
      "expected a checkpoint of training or a model that `dino import` wrote; dino import reads other files",
    );
  }
  return { config, tensors, isTrained: metadata["format"] === FORMAT };
}

async function parseTensors(bytes: Uint8Array<ArrayBuffer>, sha256: Sha256) {
  const metadata = safetensorsMetadata(bytes);
  await verify(bytes, metadata, sha256);
  const tensors = new Map<string, Values>();
  for (const [name, tensor] of parseSafetensors(bytes)) {
    if (tensor.dtype !== "F32") throw new Error(`${name} is ${tensor.dtype}, expected F32`);
    tensors.set(name, { shape: tensor.shape, values: tensor.data });
  }
  return { metadata, tensors };
}

/** What the notes of a checkpoint say of its run. Throws for those of other files. */
export function parseRunMetadata(metadata: Readonly<Record<string, string>>): Omit<Checkpoint, "tensors"> {
  const { format, step, unlogged, choices = "{}", config } = metadata;
  if (format === MODEL_FORMAT) {
    throw new Error("this is a model without the state of a run; begin a run from it with --init");
  }
  if (format !== FORMAT || step === undefined || unlogged === undefined || config === undefined) {
    throw new Error(
      `expected a checkpoint of format "${FORMAT}", got ${format === undefined ? "none" : `"${printable(format)}"`}`,
    );
  }
  if (!/^\d{1,15}$/.test(step)) throw new Error(`expected a number of steps, got "${printable(step)}"`);
  return {
    config: parseConfig(config),
    step: Number(step),
    unlogged: unloggedSchema.parse(JSON.parse(unlogged)),
    choices: choicesSchema.parse(JSON.parse(choices)),
  };
}

/** The settings in the notes of a file that this program wrote, today's defaults where it knew of none; else undefined. */
export function configFromMetadata({ format, config }: Readonly<Record<string, string>>): Config | undefined {
  if ((format !== FORMAT && format !== MODEL_FORMAT) || config === undefined) return undefined;
  return parseConfig(JSON.stringify({ ...defaultConfig, ...(JSON.parse(config) as object) }));
}

/** The numbers of all tensors under a prefix, by the rest of their name. */
export function under(prefix: string, { tensors }: Pick<Checkpoint, "tensors">): Map<string, Float32Array> {
  return new Map(
    [...tensors].flatMap(([name, { values }]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), values] as const] : [],
    ),
  );
}
