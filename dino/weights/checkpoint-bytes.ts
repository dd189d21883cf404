/**
 * The format of checkpoints and model files, independent of storage: safetensors with the official parameter names for
 * the teacher, and the state that resuming needs.
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

/** A tensor on the host. */
export interface Values {
  readonly shape: Shape;
  readonly values: Float32Array;
}

/**
 * The state of a run after `step` steps. Names: `backbone.*` and `head.*` are the teacher's parameters (and statistics
 * of batch norms), in DINOv2 `dino_head.*` and `ibot_head.*` in place of `head.*`; `student.*` the student's under the same
 * names, `center` and `ibot_center`, `optimizer.KIND.NAME` the optimizer's state, and `loss_scale` in f16.
 */
export interface Checkpoint {
  readonly config: Config;
  /** Steps done. */
  readonly step: number;
  /** Number of training images; undefined in files from before this was kept. */
  readonly images?: number | undefined;
  /** Losses not logged yet, of the current interval and the current epoch. */
  readonly unlogged: { readonly interval: Losses; readonly epoch: Losses };
  /** Kernels of the run, so that it continues byte-exactly on a device that has been tuned since. */
  readonly choices: Choices;
  readonly tensors: ReadonlyMap<string, Values>;
}

/** Whether a tensor of a checkpoint is a parameter of its teacher. */
export function isOfNetwork(name: string): boolean {
  return name.startsWith("backbone.") || isOfHead(name);
}

/** Whether a parameter is of a projection head, of any method. */
export function isOfHead(name: string): boolean {
  return /^(head|dino_head|ibot_head)\./.test(name);
}

/** A network and the settings that describe it. */
export interface ModelFile {
  readonly config: Config;
  /** Tensors under the names of a checkpoint. */
  readonly tensors: ReadonlyMap<string, Values>;
  /**
   * Whether the settings are those of a training run; otherwise they are defaults, except for the network and its view.
   */
  readonly isTrained: boolean;
}

/** The sum of the losses of some steps, for their mean. */
export interface Losses {
  readonly sum: number;
  readonly count: number;
}

const FORMAT = "dino-webgpu 1";
const MODEL_FORMAT = "dino-webgpu model 1";

const lossesSchema = z.object({ sum: z.number(), count: z.number() });
const choicesSchema = z.record(z.string(), z.string());
const unloggedSchema = z.object({ interval: lossesSchema, epoch: lossesSchema });

/** Computes the SHA-256 of concatenated bytes, in hexadecimal digits. */
export type Sha256 = (parts: readonly Uint8Array<ArrayBuffer>[]) => Promise<string>;

/** SHA-256 by Web Crypto, which pages, workers and Node have; limited to 2 GiB, and to secure pages. */
const webSha256: Sha256 = async (parts) => {
  const bytes = await new Blob([...parts]).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

/** Encodes a checkpoint as the bytes of its file, which do not depend on the folder of the run. */
export async function encodeCheckpoint(
  { config, step, images, unlogged, choices, tensors }: Checkpoint,
  sha256 = webSha256,
): Promise<Uint8Array<ArrayBuffer>> {
  const metadata = {
    format: FORMAT,
    step: String(step),
    ...(images !== undefined && { images: String(images) }),
    unlogged: JSON.stringify(unlogged),
    choices: JSON.stringify(choices),
    config: formatConfig({ ...config, out: defaultConfig.out }),
  };
  return encodeTensors(tensors, metadata, sha256);
}

/** Encodes a model file: a network without the state of a run. */
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

/** Converts tensors for `encodeSafetensors`. */
export function asSafetensors(tensors: ReadonlyMap<string, Values>): readonly (readonly [string, SafeTensor])[] {
  return [...tensors].map(([name, { shape, values }]) => [name, { dtype: "F32", shape, data: values }]);
}

const NO_CHECKSUM = `sha256:${"0".repeat(64)}`;

/** Computes the checksum of a file, with zeros in place of the checksum that it holds. */
async function checksumOf(bytes: Uint8Array<ArrayBuffer>, held: string, sha256: Sha256): Promise<string> {
  const at = checksumOffset(bytes, held);
  const none = new TextEncoder().encode(NO_CHECKSUM);
  return `sha256:${await sha256([bytes.subarray(0, at), none, bytes.subarray(at + held.length)])}`;
}

/** Returns the offset of the checksum in the header of a file. */
function checksumOffset(bytes: Uint8Array, checksum: string): number {
  const header = bytes.subarray(0, safetensorsHeaderBytes(bytes, bytes.length));
  return new TextDecoder("latin1").decode(header).indexOf(checksum); // one letter per byte
}

/** Throws if the checksum of a file does not match. Files from before checksums existed pass. */
async function verify(
  bytes: Uint8Array<ArrayBuffer>,
  { checksum }: Readonly<Record<string, string>>,
  sha256: Sha256,
): Promise<void> {
  if (checksum === undefined || checksum === (await checksumOf(bytes, checksum, sha256))) return;
  throw new Error("the checksum does not match the content: the file is damaged");
}

/** Parses the bytes of a checkpoint. Throws for anything else, including a model file. */
export async function parseCheckpoint(bytes: Uint8Array<ArrayBuffer>, sha256 = webSha256): Promise<Checkpoint> {
  const { metadata, tensors } = await parseTensors(bytes, sha256);
  return { ...parseRunMetadata(metadata), tensors };
}

/** Parses the networks of a checkpoint or model file. Throws for anything else. */
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

/** Parses the metadata of a checkpoint. Throws for that of other files. */
export function parseRunMetadata(metadata: Readonly<Record<string, string>>): Omit<Checkpoint, "tensors"> {
  const { format, step, images, unlogged, choices = "{}", config } = metadata;
  if (format === MODEL_FORMAT) {
    throw new Error("this is a model without the state of a run; start a run from it with --init");
  }
  if (format !== FORMAT || step === undefined || unlogged === undefined || config === undefined) {
    throw new Error(
      `expected a checkpoint of format "${FORMAT}", got ${format === undefined ? "none" : `"${printable(format)}"`}`,
    );
  }
  for (const [what, count] of Object.entries({ steps: step, images: images ?? "0" }))
    if (!/^\d{1,15}$/.test(count)) throw new Error(`expected a number of ${what}, got "${printable(count)}"`);
  return {
    config: parseConfig(config),
    step: Number(step),
    ...(images !== undefined && { images: Number(images) }),
    unlogged: unloggedSchema.parse(JSON.parse(unlogged)),
    choices: choicesSchema.parse(JSON.parse(choices)),
  };
}

/**
 * Parses the settings in the metadata of a file that this program wrote, with current defaults for missing ones;
 * otherwise undefined.
 */
export function configFromMetadata({ format, config }: Readonly<Record<string, string>>): Config | undefined {
  if ((format !== FORMAT && format !== MODEL_FORMAT) || config === undefined) return undefined;
  return parseConfig(JSON.stringify({ ...defaultConfig, ...(JSON.parse(config) as object) }));
}

/** Returns the values of all tensors under a prefix, by the rest of their names. */
export function under(prefix: string, { tensors }: Pick<Checkpoint, "tensors">): Map<string, Float32Array> {
  return new Map(
    [...tensors].flatMap(([name, { values }]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), values] as const] : [],
    ),
  );
}
