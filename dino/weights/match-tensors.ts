/** Matches the tensors of a file with the parameters of a network. */
import type { ParamSpec } from "../../engine/index.js";
import { joinNames } from "../files/text.js";
import type { NetworkConfig } from "../model/network.js";
import { bufferSpecs, networkSpecs } from "../model/network.js";
import { isOfHead } from "./checkpoint-bytes.js";
import type { NamedTensor } from "./derived-tensors.js";
import type { OfficialTensors } from "./names.js";
import { elementsOf } from "./torch/stored.js";

/** A parameter and its tensor in the file, if any. */
export interface Parameter {
  readonly spec: ParamSpec;
  readonly found: NamedTensor | undefined;
}

export interface TensorMatch {
  /** In the official order; includes the head if the file has any tensor of it. */
  readonly parameters: readonly Parameter[];
  /** Tensors without a parameter, by the file's names. */
  readonly extra: readonly string[];
}

/** Finds the tensor of each parameter, of any shape. */
export function matchTensors(network: NetworkConfig, { tensors, others }: OfficialTensors): TensorMatch {
  const hasHead = [...tensors.keys()].some(isOfHead);
  const specs = [...networkSpecs(network), ...bufferSpecs(network)].filter(({ name }) => hasHead || !isOfHead(name));
  const names = new Set(specs.map(({ name }) => name));
  return {
    parameters: specs.map((spec) => ({ spec, found: tensors.get(spec.name) })),
    extra: [...others, ...[...tensors].flatMap(([name, { from }]) => (names.has(name) ? [] : from))],
  };
}

/** Throws, listing all mismatches, unless every parameter has a tensor of its shape and no tensor is left over. */
export function expectComplete(
  { parameters, extra }: TensorMatch,
  { vit: { depth, dim, patch } }: NetworkConfig,
): void {
  const missing = parameters.filter(({ found }) => !found).map(({ spec }) => spec.name);
  const misshapen = parameters
    .filter((parameter) => parameter.found && !fits(parameter))
    .map(({ spec, found }) => `${spec.name} [${found!.tensor.shape.join(", ")}] instead of [${spec.shape.join(", ")}]`);
  const wrong = Object.entries({ missing, misshapen, extra }).filter(([, names]) => names.length > 0);
  if (wrong.length === 0) return;
  throw new Error(
    `the tensors are not those of a ViT of ${depth} blocks, ${dim} features and patches of ${patch}: ` +
      `${wrong.map(([what, names]) => `${what} ${joinNames(names)}`).join("; ")}; --allow-partial takes what fits`,
  );
}

/**
 * Reduces a match to its usable part: a complete head or none, and no tensor of another shape. Throws if the file has
 * less than half of the numbers, since it holds another network then.
 */
export function usableMatch({ parameters, extra }: TensorMatch): TensorMatch {
  const keepsHead = parameters.every((parameter) => !isOfHead(parameter.spec.name) || fits(parameter));
  const used = parameters.filter(({ spec }) => keepsHead || !isOfHead(spec.name));
  const left = parameters.filter((parameter) => !used.includes(parameter) || !fits(parameter));
  const known = numbersOf(used.filter(fits));
  if (known < numbersOf(used) / 2)
    throw new Error(`the file has ${known} of the ${numbersOf(used)} numbers of the network, less than half`);
  return {
    parameters: used.map((parameter) => (fits(parameter) ? parameter : { spec: parameter.spec, found: undefined })),
    extra: [...extra, ...left.flatMap(({ found }) => found?.from ?? [])],
  };
}

function fits({ spec, found }: Parameter): boolean {
  return found !== undefined && String(found.tensor.shape) === String(spec.shape);
}

function numbersOf(parameters: readonly Parameter[]): number {
  return parameters.reduce((sum, { spec }) => sum + elementsOf(spec.shape), 0);
}
