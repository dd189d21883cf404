import type { Inputs, Kind, Workload } from "./workloads.js";

export interface Identity {
  readonly version: string;
}

/** What one iteration gave: the output of a forward, or a loss with the gradients of the workload's `params`. */
export type Outcome =
  { readonly out: Float32Array } | { readonly loss: number; readonly grads: Readonly<Record<string, Float32Array>> };

/** A workload made ready on a device. */
export interface Job<Result extends Outcome = Outcome> {
  /** Enqueues one whole iteration. */
  step(): unknown;
  /** Resolves when all that was enqueued has finished on the device. */
  sync(): Promise<unknown>;
  /** Runs one iteration and brings its results to the host. */
  read(): Promise<Result>;
  dispose(): unknown;
}

export type Operation<K extends Kind> = (workload: Workload<K>, inputs: Inputs<K>) => Job | Promise<Job>;

/** An engine: how to open it, and a function for each kind of workload that it can do. */
export type Peer = { init(): Promise<Identity> } & Operations;
export type Operations = { readonly [K in Kind]?: Operation<K> };
