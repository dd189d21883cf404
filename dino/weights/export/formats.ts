/** A network as files that other programs read. */
import { encodeSafetensors } from "../../../engine/index.js";
import { asSafetensors, type Values } from "../checkpoint-bytes.js";
import { huggingFaceTensors } from "../names.js";
import { exportNotes } from "../notes.js";
import type { ReadNetwork } from "../read-network.js";
import { modelSettings, processorSettings } from "./hugging-face.js";
import { encodeOnnx } from "./onnx.js";
import { type GraphOptions, vitGraph } from "./vit-graph.js";

export const formats = ["onnx", "safetensors", "hf"] as const;

export type Format = (typeof formats)[number];

/** A file to be. */
export interface ExportFile {
  /** Within a folder, with `/` between its parts; undefined where it is the whole export. */
  readonly name?: string;
  /** Throws where the format cannot hold the network. */
  readonly encode: () => Uint8Array | string;
}

export interface ExportOptions extends Pick<GraphOptions, "onProgress"> {
  /** Of safetensors: the head as well, and names with `backbone.` and `head.` in front. */
  readonly head?: boolean | undefined;
}

/** The files that a network becomes; nothing is encoded yet. Throws where the format has no place for what there is. */
export function exportFiles(network: ReadNetwork, format: Format, options: ExportOptions = {}): readonly ExportFile[] {
  switch (format) {
    case "onnx":
      return [{ encode: () => onnx(network, "dino", options) }];
    case "safetensors":
      return [{ encode: () => safetensors(network, options.head ? withHead(network) : network.backbone) }];
    case "hf": {
      const { config, backbone } = network;
      const settings = modelSettings(config);
      return [
        { name: "onnx/model.onnx", encode: () => onnx(network, "transformers", options) },
        { name: "model.safetensors", encode: () => safetensors(network, huggingFaceTensors(backbone)) },
        { name: "preprocessor_config.json", encode: () => json(processorSettings(config)) },
        { name: "config.json", encode: () => json(settings) },
      ];
    }
    default:
      return format satisfies never;
  }
}

function onnx({ config, vit, backbone: params }: ReadNetwork, naming: GraphOptions["naming"], options: ExportOptions) {
  const { onProgress } = options;
  return encodeOnnx({
    ...vitGraph({ vit, params, naming, ...(onProgress && { onProgress }) }),
    notes: exportNotes(config),
  });
}

/** Says that they are PyTorch's, without which Hugging Face's library in Python refuses them. */
function safetensors({ config }: ReadNetwork, tensors: ReadonlyMap<string, Values>): Uint8Array {
  return encodeSafetensors(asSafetensors(tensors), { format: "pt", ...exportNotes(config) });
}

function withHead({ backbone, head }: ReadNetwork): ReadonlyMap<string, Values> {
  if (head.size === 0) throw new Error("--head: the network has none; leave --head out");
  const named = (prefix: string, tensors: ReadonlyMap<string, Values>) =>
    [...tensors].map(([name, values]) => [prefix + name, values] as const);
  return new Map([...named("backbone.", backbone), ...named("head.", head)]);
}

function json(value: object): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
