/** A backbone as the official code loads it. */
import { learnedPositions, rotaryPeriods } from "../../model/positions.js";
import type { VitConfig } from "../../model/vit-config.js";
import type { Values } from "../checkpoint-bytes.js";
import type { ReadNetwork } from "../read-network.js";

/** Returns the backbone under official names, with the constants that the official code of DINOv3 loads like parameters. */
export function officialBackbone({
  vit,
  backbone,
}: Pick<ReadNetwork, "vit" | "backbone">): ReadonlyMap<string, Values> {
  return new Map([...backbone, ...constantsOf(vit)]);
}

function constantsOf(vit: VitConfig): [string, Values][] {
  const { dim, depth, heads, positions = learnedPositions, qkvBias = true, maskKeyBias = false } = vit;
  if (positions.kind === "learned") return [];
  const periods = Float32Array.from(rotaryPeriods(positions, dim / heads));
  const mask = new Float32Array(3 * dim).fill(1).fill(0, dim, 2 * dim);
  const masked = qkvBias && maskKeyBias ? Array.from({ length: depth }, (_, i) => i) : [];
  return [
    ["rope_embed.periods", { shape: [periods.length], values: periods }],
    ...masked.map((i): [string, Values] => [`blocks.${i}.attn.qkv.bias_mask`, { shape: [3 * dim], values: mask }]),
  ];
}
