/** Trained backbones, and the view of images they take. */
import type { Device } from "../../engine/index.js";
import { evalView } from "../config/derive.js";
import type { Config } from "../config/settings.js";
import type { Normalization, Size } from "../images/pixels.js";
import type { Lookup, VitConfig } from "./vit-config.js";

/** A backbone on a device: configuration and parameters. */
export interface Backbone {
  readonly device: Device;
  readonly vit: VitConfig;
  readonly params: Lookup;
}

/** A backbone loaded from a checkpoint, with its training settings. Dispose of it to free its memory. */
export interface Model extends Backbone, Disposable {
  readonly config: Config;
  /** The training dataset; undefined for imported models, which do not name it. */
  readonly data: string | undefined;
}

/** A network of a checkpoint; the teacher's features are better. */
export type Which = "teacher" | "student";

/** The input view of an image: shorter side resized, center-cropped, normalised. */
export interface View extends Normalization {
  readonly resize: number;
  readonly crop: Size;
}

/** Returns the evaluation view of a configuration. */
export function viewOf(config: Config): View {
  return { ...evalView(config), mean: config.mean, std: config.std };
}
