/** What config.json and preprocessor_config.json beside weights say, as Hugging Face and timm write them. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { PartialConfig } from "../config/settings.js";
import type { OfficialTensors } from "./names.js";

const pair = z.union([z.number(), z.tuple([z.number(), z.number()])]);
const perChannel = z.array(z.number()).min(1);

const configSchema = z.object({
  num_attention_heads: z.number().optional(),
  image_size: pair.optional(),
  hidden_act: z.string().optional(),
  use_gated_mlp: z.boolean().optional(),
  layer_norm_eps: z.number().optional(),
  rope_theta: z.number().optional(),
  rope_parameters: z.object({ rope_theta: z.number().optional() }).nullish(),
});

const timmSchema = z.object({ pretrained_cfg: z.object({ mean: perChannel.optional(), std: perChannel.optional() }) });

const processorSchema = z.object({
  image_mean: perChannel.optional(),
  image_std: perChannel.optional(),
  size: z.object({ shortest_edge: z.number().optional() }).optional(),
  do_center_crop: z.boolean().optional(),
  crop_size: z.object({ height: z.number(), width: z.number() }).optional(),
});

/**
 * Returns the settings that files beside weights of this naming state; none if there are no such files. Throws, naming the
 * file, for one of another form, or for a network that this program lacks.
 */
export async function settingsBeside(folder: string, naming: OfficialTensors["naming"]): Promise<PartialConfig> {
  const path = join(folder, "config.json");
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (naming !== "Hugging Face") {
    const { mean, std } = timmSchema.safeParse(asJson(text)).data?.pretrained_cfg ?? {}; // else of another program
    return stated({ mean, std });
  }
  const processor = join(folder, "preprocessor_config.json");
  const view = viewOf(processor, await readFile(processor, "utf8").catch(() => undefined));
  return { ...(text !== undefined && networkOf(path, text)), ...view };
}

function networkOf(path: string, text: string): PartialConfig {
  const read = configSchema.safeParse(asJson(text));
  if (!read.success) throw new Error(`${path}: expected the settings of a ViT: ${z.prettifyError(read.error)}`);
  const { num_attention_heads: heads, image_size: size, layer_norm_eps: normEpsilon, ...rest } = read.data;
  const { hidden_act: activation = "gelu", use_gated_mlp: isGated, rope_theta, rope_parameters } = rest;
  const expected = isGated === true ? "silu" : "gelu";
  if (activation !== expected) throw new Error(`${path}: expected the activation ${expected}, got ${activation}`);
  const [rows, cols] = typeof size === "number" ? [size, size] : (size ?? []);
  return stated({
    heads,
    normEpsilon,
    ropeBase: rope_parameters?.rope_theta ?? rope_theta,
    imageSize: rows === undefined || cols === undefined ? undefined : { rows, cols },
  });
}

function viewOf(path: string, text: string | undefined): PartialConfig {
  if (text === undefined) return {};
  const read = processorSchema.safeParse(asJson(text));
  if (!read.success)
    throw new Error(`${path}: expected the settings of an image processor: ${z.prettifyError(read.error)}`);
  const { image_mean: mean, image_std: std, do_center_crop: isCropped, crop_size: crop, size } = read.data;
  const evalSize = crop && { rows: crop.height, cols: crop.width };
  return stated({ mean, std, ...(isCropped === true && { evalSize, evalResize: size?.shortest_edge }) });
}

/** Returns the settings that are not undefined. */
function stated(settings: { readonly [Name in keyof PartialConfig]: PartialConfig[Name] | undefined }): PartialConfig {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}

/** Parses JSON; undefined for invalid JSON. */
function asJson(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
