import type { Inputs, Kind, Workload } from "./workloads.js";

/** Version of an engine. */
export interface Identity {
  readonly version: string;
}

/** Result of one iteration: the output of a forward, or a loss with the gradients of the workload's `params`. */
export type Outcome =
  { readonly out: Float32Array } | { readonly loss: number; readonly grads: Readonly<Record<string, Float32Array>> };

/** A workload prepared on a device. */
export interface Job<Result extends Outcome = Outcome> {
  /** Enqueues one iteration. */
  step(): unknown;
  /** Resolves when all enqueued work is done. */
  sync(): Promise<unknown>;
  /** Runs one iteration and reads its results. */
  read(): Promise<Result>;
  dispose(): unknown;
}

export type Operation<K extends Kind> = (workload: Workload<K>, inputs: Inputs<K>) => Job | Promise<Job>;

/** An engine: a function to open it, and one for each kind of workload that it supports. */
export type Peer = { init(): Promise<Identity> } & Operations;
export type Operations = { readonly [K in Kind]?: Operation<K> };
