/** Small networks of the families that commands take. */
import { fileURLToPath } from "node:url";
import type { Config } from "../../dino/config/settings.js";
import { writeModel } from "../../dino/weights/checkpoint.js";
import { importNetwork } from "../../dino/weights/import.js";
import { writeTinyCheckpoint } from "./command-line.js";

/** Networks of the official code with patches of 14 and 16 pixels, both with registers, by family. */
const official = { DINOv2: "vit2_p14_reg", DINOv3: "vit3_mlp" } as const;

export const families = ["DINO", "DINOv2", "DINOv3"] as const;

/**
 * Writes a model of two blocks and two heads: an untrained checkpoint of DINO with registers, or what `dino import` makes of
 * weights of DINOv2 and DINOv3. Returns its settings.
 */
export async function writeModelOf(family: (typeof families)[number], path: string): Promise<Config> {
  if (family === "DINO") return writeTinyCheckpoint(path, { depth: 2, registers: 2 });
  const weights = new URL(`../golden/data-v2/${official[family]}_state.safetensors`, import.meta.url);
  const imported = await importNetwork(fileURLToPath(weights), { heads: 2 });
  await writeModel(path, imported);
  return imported.config;
}
