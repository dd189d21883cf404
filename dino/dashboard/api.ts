/** The API between the dashboard's server and its pages: types only, for Node and browsers. */
import type { PictureKind } from "../run/picture-names.js";

/** `GET /api/runs.json`: the list of runs. */
export interface RunList {
  /** Whether the list may change, so that it is worth polling. */
  readonly isLive: boolean;
  readonly runs: readonly RunState[];
}

/** The files of a run; the version of a file changes with its content. */
export interface RunState {
  /** Name of the run, also in addresses. */
  readonly name: string;
  /** Version of config.json. */
  readonly config: string;
  readonly log: {
    readonly bytes: number;
    /** Changes if the log is truncated, as when a run continues; appending keeps it. */
    readonly version: string;
    /** Milliseconds since the last line. */
    readonly ageMs: number;
  };
  readonly pictures: readonly PictureSeries[];
  /** Version of profile.json; undefined if it does not exist. */
  readonly profile?: string;
}

/** Pictures of one kind, all of one size. */
export interface PictureSeries {
  readonly kind: PictureKind;
  /** In ascending order. */
  readonly steps: readonly number[];
  /** Size of the last one, in pixels. */
  readonly width: number;
  readonly height: number;
}

/**
 * `GET /api/runs/NAME/log.json?from=BYTE&version=VERSION`: complete lines from a byte of a version on, or from the
 * start if the version has changed.
 */
export interface LogPart {
  readonly version: string;
  readonly from: number;
  /** The byte to continue from. */
  readonly to: number;
  readonly lines: string;
}

/** `GET /api/models.json`: the networks for the viewer. */
export type ModelList = readonly ModelState[];

/** A network; its file is `api/models/NAME/model.safetensors`. */
export interface ModelState {
  /** Name of the model, also in addresses: that of its run or of its file. */
  readonly name: string;
  /** Changes with the file. */
  readonly version: string;
  /** An index that `dino embed` wrote: `features.npy`, `index.json` and `images/` beside the model. */
  readonly index?: {
    readonly version: string;
    /** Whether the model has been trained since, so that its features differ now. */
    readonly isOutdated: boolean;
  };
}

/** `GET /api/models/NAME/index.json`: the images of the rows of the features. */
export interface IndexedNames {
  /** Names of the images. */
  readonly files: readonly string[];
  readonly classes: readonly string[];
  /** The class of each image, an index of `classes`. */
  readonly labels?: readonly number[] | undefined;
  /**
   * The images as the network takes them, with `images/ROW.webp` as their pictures: these pictures themselves, or
   * `images/ROW.npy`, uint8 [rows, cols, channels], for networks of other than one and three channels.
   */
  readonly inputs: "webp" | "npy";
}
