/** A faulty engine for tests: each kind of workload fails in another way. */
import type { Identity, Job } from "../../bench/peers/peer.js";

export async function init(): Promise<Identity> {
  const { gpu } = (globalThis as unknown as { readonly navigator: { readonly gpu: GPU } }).navigator;
  await (await gpu.requestAdapter())!.requestDevice();
  return { version: "0" };
}

const job: Job = {
  step: () => undefined,
  sync: () => Promise.resolve(),
  read: () => Promise.reject(new Error("unread")),
  dispose: () => undefined,
};

/** Returns ones. */
export const matmul = (): Job => ({ ...job, read: () => Promise.resolve({ out: new Float32Array(8 * 16).fill(1) }) });

/** Ends its process. */
export function softmax(): Job {
  console.error("the driver gave up");
  process.exit(3);
}

/** Throws. */
export function layernorm(): Job {
  throw new Error("layernorm: not today");
}
