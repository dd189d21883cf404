/** A trained backbone and how images are shown to it. */
import type { Device } from "../../engine/index.js";
import type { Lookup, VitConfig } from "./vit.js";
import type { Config } from "../config/settings.js";
import type { Normalization, Size } from "../images/pixels.js";
import { evalView } from "../config/derive.js";

/** A backbone on a device: its shape and its parameters. */
export interface Backbone {
  readonly device: Device;
  readonly vit: VitConfig;
  readonly params: Lookup;
}

/** A backbone out of a checkpoint, with the settings it was trained with. Dispose of it to free its memory. */
export interface Model extends Backbone, Disposable {
  readonly config: Config;
  /** The images it was trained on; undefined where it was imported, since nothing tells. */
  readonly data: string | undefined;
}

/** Which of the two networks of a checkpoint: the teacher's features are the better ones. */
export type Which = "teacher" | "student";

/** How an image is shown to a backbone: shorter side resized, middle cut out, normalised. */
export interface View extends Normalization {
  readonly resize: number;
  readonly crop: Size;
}

/** The view that a configuration evaluates with. */
export function viewOf(config: Config): View {
  return { ...evalView(config), mean: config.mean, std: config.std };
}
