/** A trained linear layer on disk: safetensors, under the names of eval_linear.py. */
import { dirname } from "node:path";
import { encodeSafetensors } from "../../engine/index.js";
import { makeFolder, writeFileAtomically } from "../files/files.js";
import type { LinearLayer } from "./linear-probe.js";

/** Metadata of the file of a layer. */
export interface LinearNotes {
  /** The class of each row of the weight. */
  readonly classes: readonly string[];
  /** A description of the input features. */
  readonly features: string;
  /** The checkpoint or feature file of the features. */
  readonly source: string;
  /** Learning rate for batches of 256 images. */
  readonly lr: number;
}

/** Writes `linear.weight` [classes, dim] and `linear.bias` [classes], and creates the folder if needed. */
export async function writeLinear(path: string, { weight, bias }: LinearLayer, notes: LinearNotes): Promise<void> {
  const { classes, features, source, lr } = notes;
  const file = encodeSafetensors(
    [
      ["linear.weight", { dtype: "F32", shape: [classes.length, weight.length / classes.length], data: weight }],
      ["linear.bias", { dtype: "F32", shape: [classes.length], data: bias }],
    ],
    { format: "dino-webgpu linear 1", classes: JSON.stringify(classes), features, source, lr: String(lr) },
  );
  await makeFolder(dirname(path));
  await writeFileAtomically(path, file);
}
