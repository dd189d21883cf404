/** Compares the tensors of a file with the parameters of a network. */
import type { ParamSpec } from "../../engine/index.js";
import { joinNames } from "../files/text.js";
import type { NetworkConfig } from "../model/network.js";
import { bufferSpecs, networkSpecs } from "../model/network.js";
import type { NamedTensor, OfficialTensors } from "./names.js";
import { elementsOf } from "./torch/stored.js";

/** A parameter, and the tensor that a file has for it. */
export interface Parameter {
  readonly spec: ParamSpec;
  readonly found: NamedTensor | undefined;
}

export interface TensorMatch {
  /** In the official order; the head's only where the file has any of it. */
  readonly parameters: readonly Parameter[];
  /** Tensors that no parameter asks for, by the file's names. */
  readonly extra: readonly string[];
}

/** What a file has for each parameter, whatever its shape. */
export function matchTensors(network: NetworkConfig, { tensors, others }: OfficialTensors): TensorMatch {
  const hasHead = [...tensors.keys()].some(isOfHead);
  const specs = [...networkSpecs(network), ...bufferSpecs(network)].filter(({ name }) => hasHead || !isOfHead(name));
  const names = new Set(specs.map(({ name }) => name));
  return {
    parameters: specs.map((spec) => ({ spec, found: tensors.get(spec.name) })),
    extra: [...others, ...[...tensors].flatMap(([name, { from }]) => (names.has(name) ? [] : from))],
  };
}

/** Throws, with all that is wrong, unless there is a tensor for each parameter, in its shape, and none besides. */
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
    `the tensors do not make a DINO ViT of ${depth} blocks, ${dim} features and patches of ${patch}: ` +
      `${wrong.map(([what, names]) => `${what} ${joinNames(names)}`).join("; ")}; --allow-partial takes what fits`,
  );
}

/**
 * What of a fit can be used: a head with all its parameters or none, and no tensor of another shape.
 * Throws where the file has less than half of the numbers: then it holds another network.
 */
export function usableMatch({ parameters, extra }: TensorMatch): TensorMatch {
  const keepsHead = parameters.every((parameter) => !isOfHead(parameter.spec.name) || fits(parameter));
  const kept = parameters.filter(({ spec }) => keepsHead || !isOfHead(spec.name));
  const left = parameters.filter((parameter) => !kept.includes(parameter) || !fits(parameter));
  const known = numbersOf(kept.filter(fits));
  if (known < numbersOf(kept) / 2)
    throw new Error(`${known} of the ${numbersOf(kept)} numbers of the network are in the file, less than half`);
  return {
    parameters: kept.map((parameter) => (fits(parameter) ? parameter : { spec: parameter.spec, found: undefined })),
    extra: [...extra, ...left.flatMap(({ found }) => found?.from ?? [])],
  };
}

export function isOfHead(name: string): boolean {
  return name.startsWith("head.");
}

function fits({ spec, found }: Parameter): boolean {
  return found !== undefined && String(found.tensor.shape) === String(spec.shape);
}

function numbersOf(parameters: readonly Parameter[]): number {
  return parameters.reduce((sum, { spec }) => sum + elementsOf(spec.shape), 0);
}
