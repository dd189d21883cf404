/** A trained linear layer on disk: safetensors, under the names of eval_linear.py. */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { encodeSafetensors } from "../../engine/index.js";
import { writeFileAtomically } from "../files/files.js";
import type { LinearLayer } from "./linear-probe.js";

/** What a layer is of, in the metadata of its file. */
export interface LinearNotes {
  /** Of the rows of the weight, in their order. */
  readonly classes: readonly string[];
  /** What the layer sees, in words. */
  readonly features: string;
  /** The checkpoint or the file that the features were made with. */
  readonly source: string;
  /** For batches of 256 images. */
  readonly lr: number;
}

/** Writes `linear.weight` [classes, dim] and `linear.bias` [classes], into a folder that is made if it is missing. */
export async function writeLinear(path: string, { weight, bias }: LinearLayer, notes: LinearNotes): Promise<void> {
  const { classes, features, source, lr } = notes;
  const file = encodeSafetensors(
    [
      ["linear.weight", { dtype: "F32", shape: [classes.length, weight.length / classes.length], data: weight }],
      ["linear.bias", { dtype: "F32", shape: [classes.length], data: bias }],
    ],
    { format: "dino-webgpu linear 1", classes: JSON.stringify(classes), features, source, lr: String(lr) },
  );
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomically(path, file);
}
