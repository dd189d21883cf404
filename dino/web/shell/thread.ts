/** The page's side of a thread that computes. */
import { type Remote, wrap } from "comlink";
import type { Trouble } from "./trouble.js";

export interface Thread<Offered> {
  /** Calls what the thread offers. */
  readonly remote: Remote<Offered>;
  /** Has the page told where the thread does not start, or dies: what it was asked for will not be answered then. */
  readonly onFailure: (tell: (trouble: Trouble) => void) => void;
}

/** Takes up a worker that offers functions by comlink's `expose`. */
export function connectThread<Offered>(worker: Worker): Thread<Offered> {
  let failure: Trouble | undefined;
  let tell: ((trouble: Trouble) => void) | undefined;
  // At once, since a worker may fail before its page is there to be told.
  worker.addEventListener("error", ({ message }: Partial<ErrorEvent>) => {
    const why = message === undefined || message === "" ? "" : `: ${message}`;
    failure = {
      message: `The part of this page that computes has failed${why}`,
      advice: "Reload the page.",
      isOfDevice: false,
    };
    tell?.(failure);
  });
  return {
    remote: wrap<Offered>(worker),
    onFailure(told) {
      tell = told;
      if (failure) told(failure);
    },
  };
}
