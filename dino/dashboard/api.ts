/** What the dashboard's server tells its page: types alone, for Node and for browsers. */
import type { PictureKind } from "../picture-names.js";

/** `GET /api/runs`: the runs there are. */
export type RunList = readonly RunState[];

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

/** `GET /api/runs/NAME/log?from=BYTE&version=VERSION`: whole lines from that byte of that version on, or from the beginning of another. */
export interface LogPart {
  readonly version: string;
  readonly from: number;
  /** Where to go on. */
  readonly to: number;
  readonly lines: string;
}
