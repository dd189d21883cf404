/** Selects networks of checkpoints and model files, and uploads them. */
import { createParams, type Device, layoutOf } from "../../engine/index.js";
import type { Config } from "../config/settings.js";
import type { Model, Which } from "../model/backbone.js";
import { vitConfig } from "../model/configure.js";
import type { VitConfig } from "../model/vit-config.js";
import { vitSpecs } from "../model/vit-params.js";
import { isOfHead, type ModelFile, type Values } from "./checkpoint-bytes.js";

/** A network of a checkpoint or model file, on the host. */
export interface ReadNetwork {
  readonly config: Config;
  readonly vit: VitConfig;
  /** Parameters of the backbone, under their official names without prefix and in the official order. */
  readonly backbone: ReadonlyMap<string, Values>;
  /** Parameters of the heads, if any, under official names: `head.*`, or `dino_head.*` and `ibot_head.*`. */
  readonly heads: ReadonlyMap<string, Values>;
  /** As in `ModelFile`. */
  readonly isTrained: boolean;
}

/**
 * Selects a network of a checkpoint or model file. Throws, naming the file, if parameters do not match the settings.
 */
export function selectNetwork(
  { config, tensors, isTrained }: ModelFile,
  { path, which }: { readonly path: string; readonly which: Which },
): ReadNetwork {
  const vit = vitConfig(config);
  const owner = which === "teacher" ? "" : "student.";
  const backbone = new Map<string, Values>();
  for (const { name, shape } of vitSpecs(vit)) {
    const whole = `${owner}backbone.${name}`;
    const tensor = tensors.get(whole);
    if (tensor === undefined) {
      const advice = which === "student" && !isTrained ? "; a model has a single network: leave --which out" : "";
      throw new Error(`${path}: expected the parameter ${whole}, which is missing${advice}`);
    }
    if (String(tensor.shape) !== String(shape))
      throw new Error(`${path}: expected ${whole} [${shape.join(", ")}], got [${tensor.shape.join(", ")}]`);
    backbone.set(name, tensor);
  }
  const heads = [...tensors].flatMap(([whole, values]) => {
    const name = whole.startsWith(owner) ? whole.slice(owner.length) : "";
    return isOfHead(name) ? [[name, values] as const] : [];
  });
  return {
    config,
    vit,
    backbone,
    isTrained,
    heads: new Map(heads),
  };
}

/** Uploads the backbone of a network to a device. Dispose of the model to free its memory. */
export function uploadModel(device: Device, network: ReadNetwork, label: string): Model {
  const { config, vit, backbone, isTrained } = network;
  const params = createParams(device, layoutOf(vitSpecs(vit)), label);
  params.write(new Map([...backbone].map(([name, { values }]) => [name, values])));
  return {
    device,
    vit,
    params: (name) => params.get(name),
    config,
    data: isTrained ? config.data : undefined,
    [Symbol.dispose]: () => params[Symbol.dispose](),
  };
}
