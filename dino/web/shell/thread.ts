/** Connects a page to its worker thread. */
import { type Remote, wrap } from "comlink";
import type { Trouble } from "./trouble.js";

export interface Thread<Offered> {
  /** Calls functions of the thread. */
  readonly remote: Remote<Offered>;
  /** Registers a callback for a thread that does not start or dies; pending calls will not be answered then. */
  readonly onFailure: (tell: (trouble: Trouble) => void) => void;
}

/** Connects to a worker that exposes functions by comlink. */
export function connectThread<Offered>(worker: Worker): Thread<Offered> {
  let failure: Trouble | undefined;
  let tell: ((trouble: Trouble) => void) | undefined;
  // Registered at once, since a worker may fail before the page registers its callback.
  worker.addEventListener("error", ({ message }: Partial<ErrorEvent>) => {
    const reason = message === undefined || message === "" ? "" : `: ${message}`;
    failure = {
      message: `The part of this page that computes has failed${reason}`,
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
