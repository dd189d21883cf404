/** What the dashboard's server tells its page: types alone, for Node and for browsers. */
import type { PictureKind } from "../run/picture-names.js";

/** `GET /api/runs.json`: the runs there are. */
export interface RunList {
  /** Whether there may be other runs, or more of them, if asked again. */
  readonly isLive: boolean;
  readonly runs: readonly RunState[];
}

/** Files of a run; where one changes, so does its version. */
export interface RunState {
  /** What the run is called, and known by in addresses. */
  readonly name: string;
  /** Of config.json. */
  readonly config: string;
  readonly log: {
    readonly bytes: number;
    /** Another one where the log was cut back, as when a run goes on; one that only grows keeps it. */
    readonly version: string;
    /** Milliseconds since the last line was written. */
    readonly ageMs: number;
  };
  readonly pictures: readonly PictureSeries[];
  /** Of profile.json; undefined where there is none. */
  readonly profile?: string;
}

/** Pictures of one kind, all of one size. */
export interface PictureSeries {
  readonly kind: PictureKind;
  /** In ascending order. */
  readonly steps: readonly number[];
  /** Of the last one, in pixels. */
  readonly width: number;
  readonly height: number;
}

/** `GET /api/runs/NAME/log.json?from=BYTE&version=VERSION`: whole lines from that byte of that version on, or from the beginning of another. */
export interface LogPart {
  readonly version: string;
  readonly from: number;
  /** Where to go on. */
  readonly to: number;
  readonly lines: string;
}

/** `GET /api/models.json`: the networks that the viewer can look with. */
export type ModelList = readonly ModelState[];

/** A network; its file is `api/models/NAME/model.safetensors`. */
export interface ModelState {
  /** What the model is called, and known by in addresses: that of its run, or of its file. */
  readonly name: string;
  /** Another one where the file changed. */
  readonly version: string;
  /** Of features that `dino embed` wrote: `features.npy`, `index.json` and `images/ROW.webp` beside the model. */
  readonly index?: {
    readonly version: string;
    /** Whether the model was trained on since, so that its features are others now. */
    readonly isOutdated: boolean;
  };
}

/** `GET /api/models/NAME/index.json`: what the rows of the features are of. */
export interface IndexedNames {
  /** Names of the images. */
  readonly files: readonly string[];
  readonly classes: readonly string[];
  /** The class of each, an index of `classes`. */
  readonly labels?: readonly number[] | undefined;
}
