/** Process of one peer: node host.ts MODULE [HIDDEN FEATURES]. Its parent sends one request at a time. */
import { adaptersInUse, provideGpu, throwGpuFailure } from "./gpu.js";
import type { Identity, Job, Operation, Operations, Outcome, Peer } from "./peer.js";
import { inputsOf, type Kind, type Workload } from "./workloads.js";

export type Request =
  | { readonly ask: "open" }
  | { readonly ask: "prepare"; readonly workload: Workload }
  | { readonly ask: "read" }
  | { readonly ask: "time"; readonly iterations: number };

export interface Answers {
  readonly open: Identity & { readonly adapter: string };
  /** Milliseconds until the first iteration was done, with shader compilation; undefined if the peer lacks the operation. */
  readonly prepare: number | undefined;
  readonly read: Outcome;
  /** Milliseconds of all iterations. */
  readonly time: number;
}

export type Reply = { readonly answer: Answers[Request["ask"]] } | { readonly error: string };

const [module, hidden = ""] = process.argv.slice(2) as [string, string?];
let peer: Peer | undefined;
let job: Job | undefined;

async function answer(request: Request): Promise<Answers[Request["ask"]]> {
  switch (request.ask) {
    case "open": {
      await provideGpu(hidden.split(","));
      peer = (await import(module)) as Peer;
      return { ...(await peer.init()), adapter: adaptersInUse() };
    }
    case "prepare": {
      await job?.dispose();
      job = undefined; // stays so if creating the next one throws
      job = await make(request.workload.kind, request.workload);
      return job && (await time(job, 1));
    }
    case "read":
      return await prepared().read();
    case "time":
      return await time(prepared(), request.iterations);
    default:
      return request satisfies never;
  }
}

function prepared(): Job {
  if (!job) throw new Error("nothing is prepared");
  return job;
}

function make<K extends Kind>(kind: K, workload: Workload<K>): Job | Promise<Job> | undefined {
  if (!peer) throw new Error("no peer is open");
  const operations: Operations = peer;
  const operation: Operation<K> | undefined = operations[kind];
  return operation?.(workload, inputsOf(workload));
}

async function time(measuredJob: Job, iterations: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < iterations; i++) await measuredJob.step();
  await measuredJob.sync();
  return performance.now() - start;
}

process.on("message", (request: Request) => {
  void answer(request)
    .then((result): Reply => {
      throwGpuFailure();
      return { answer: result };
    })
    .catch((error: unknown): Reply => ({ error: error instanceof Error ? error.message : String(error) }))
    .then((reply) => process.send?.(reply));
});
