/** Exports a network to the files of other programs. */
import { encodeSafetensors } from "../../../engine/index.js";
import { asSafetensors, type Values } from "../checkpoint-bytes.js";
import { exportNotes } from "../notes.js";
import type { ReadNetwork } from "../read-network.js";
import { hubModel, processorSettings } from "./hugging-face.js";
import { officialBackbone } from "./official.js";
import { encodeOnnx } from "./onnx.js";
import { type GraphOptions, vitGraph } from "./vit-graph.js";

export const formats = ["onnx", "safetensors", "hf"] as const;

export type Format = (typeof formats)[number];

/** A file of an export, not encoded yet. */
export interface ExportFile {
  /** Path within a folder, separated by `/`; undefined if the export is one file. */
  readonly name?: string;
  /** Encodes the file. Throws if the format cannot hold the network. */
  readonly encode: () => Uint8Array | string;
}

export interface ExportOptions extends Pick<GraphOptions, "onProgress"> {
  /** For safetensors: includes the head, under full names: `backbone.*`, `head.*`. */
  readonly head?: boolean | undefined;
}

/** Lists the files of an export, not encoded yet. Throws if the format cannot hold the network. */
export function exportFiles(network: ReadNetwork, format: Format, options: ExportOptions = {}): readonly ExportFile[] {
  switch (format) {
    case "onnx":
      return [{ encode: () => onnx(network, "dino", options) }];
    case "safetensors":
      return [{ encode: () => safetensors(network, options.head ? withHead(network) : officialBackbone(network)) }];
    case "hf": {
      const { config } = network;
      const { settings, tensors } = hubModel(network);
      return [
        { name: "onnx/model.onnx", encode: () => onnx(network, "transformers", options) },
        { name: "model.safetensors", encode: () => safetensors(network, tensors) },
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

/** Encodes safetensors with `format: pt`, which Hugging Face's Python library requires. */
function safetensors({ config }: ReadNetwork, tensors: ReadonlyMap<string, Values>): Uint8Array {
  return encodeSafetensors(asSafetensors(tensors), { format: "pt", ...exportNotes(config) });
}

function withHead(network: ReadNetwork): ReadonlyMap<string, Values> {
  const { heads } = network;
  if (heads.size === 0) throw new Error("--head: the network has no head; leave --head out");
  const backbone = [...officialBackbone(network)].map(([name, values]) => [`backbone.${name}`, values] as const);
  return new Map([...backbone, ...heads]);
}

function json(value: object): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
