/** Names and shapes of the published weights of DINOv2 and DINOv3, by names.json, and states under other projects' names. */
import type { SafeTensor } from "../../engine/index.js";
import { goldenV2 } from "./golden.js";

export type Family = "dinov2" | "dinov3";

/** A name; a name for a range of the rows, in units of `dim`; or none for what a project leaves out. */
type Name = string | null | readonly (readonly [name: string | null, from: number, to: number])[];

interface Row {
  readonly official: string;
  readonly hf: Name;
  readonly timm: Name;
  /** Names in timm for networks of DINOv2 with registers, which rearranges two tensors. */
  readonly timm_registers?: Name;
}

export interface PublishedModel {
  readonly name: string;
  readonly weights?: string;
  readonly size: string;
  readonly dim: number;
  readonly depth: number;
  readonly heads: number;
  readonly patch: number;
  readonly position_image_size?: number;
  readonly registers: number;
  readonly ffn: string;
  readonly ffn_hidden: number;
  readonly parameters: number;
  readonly stem: Readonly<Record<string, readonly number[]>>;
  readonly block: Readonly<Record<string, readonly number[]>>;
  readonly official_file: string;
}

interface FamilyNames {
  readonly stem: readonly Row[];
  readonly block: readonly Row[];
  readonly models: readonly PublishedModel[];
}

export const names = goldenV2.json<Readonly<Record<Family, FamilyNames>>>("names");

export type Tensors = ReadonlyMap<string, SafeTensor>;

/** The shapes of a published model, by official names. */
export function publishedShapes({ stem, block, depth }: PublishedModel): Map<string, readonly number[]> {
  const blocks = Array.from({ length: depth }, (_, i) =>
    Object.entries(block).map(([name, shape]) => [`blocks.${i}.${name}`, shape] as const),
  );
  return new Map([...Object.entries(stem), ...blocks.flat()]);
}

/** Renames a state under official names. Throws for a name that names.json lacks. */
export function stateOf(project: "hf" | "timm", family: Family, state: Tensors): Map<string, SafeTensor> {
  const { stem, block } = names[family];
  const layers = { timm: "blocks.", hf: family === "dinov2" ? "encoder.layer." : "layer." }[project];
  const isRearranged = project === "timm" && family === "dinov2" && state.has("register_tokens");
  const dim = state.get("norm.weight")!.shape[0]!;
  const renamed = new Map<string, SafeTensor>();
  for (const [official, tensor] of isRearranged ? withPositionInToken(state) : state) {
    const [, i, rest = official] = /^blocks\.(\d+)\.(.*)$/.exec(official) ?? [];
    const row = (i === undefined ? stem : block).find((each) => each.official === rest);
    if (!row) throw new Error(`names.json has no ${official} of ${family}`);
    const given = isRearranged ? (row.timm_registers ?? row.timm) : row[project];
    const name = typeof given === "string" && given.includes(" = ") ? official : given; // a rearranged tensor
    const prefix = i === undefined ? "" : `${layers}${i}.`;
    for (const [part, from, to] of typeof name === "string" ? [[name, 0, Infinity] as const] : (name ?? []))
      if (part !== null) renamed.set(prefix + part, rowsOf(tensor, from * dim, to * dim));
  }
  if (project === "timm" && isRearranged) renamed.delete("mask_token");
  return renamed;
}

/** Adds the first position to the CLS token, and takes it off the positions. */
function withPositionInToken(state: Tensors): Tensors {
  const [token, positions] = [state.get("cls_token")!, state.get("pos_embed")!];
  if (token.dtype !== "F32" || positions.dtype !== "F32") throw new Error("expected F32");
  const dim = token.data.length;
  const [one, count] = positions.shape as readonly [number, number];
  return new Map<string, SafeTensor>([
    ...state,
    ["cls_token", { ...token, data: token.data.map((value, i) => value + positions.data[i]!) }],
    ["pos_embed", { dtype: "F32", shape: [one, count - 1, dim], data: positions.data.slice(dim) }],
  ]);
}

function rowsOf(tensor: SafeTensor, from: number, to: number): SafeTensor {
  const [rows, ...rest] = tensor.shape as readonly [number, ...number[]];
  if (from === 0 && to >= rows) return tensor;
  if (tensor.dtype !== "F32") throw new Error("expected F32");
  const width = tensor.data.length / rows;
  return { dtype: "F32", shape: [to - from, ...rest], data: tensor.data.slice(from * width, to * width) };
}
