/** Comparison of our engine with others, on the same adapter in the same run. */
import { OURS } from "./engines.js";
import type { Answers } from "./host.js";
import { createPeer, type PeerSpec } from "./peer-process.js";
import { headline } from "./table.js";
import { type Effort, measureWorkload, type WorkloadResult } from "./workload-timing.js";
import type { Workload } from "./workloads.js";

/** Versions and adapters of the engines, and the results of each workload. */
export interface PeerComparison {
  readonly engines: Readonly<Record<string, Answers["open"]>>;
  readonly standings: readonly WorkloadResult[];
}

/**
 * Runs the workloads in every engine. An engine that does not start is reported and skipped.
 * Throws if ours does not start, and if an engine runs on another adapter than ours.
 */
export async function comparePeers(
  specs: readonly PeerSpec[],
  workloads: readonly Workload[],
  effort: Effort,
  log: (line: string) => void,
): Promise<PeerComparison> {
  const peers = specs.map(createPeer);
  try {
    const engines: Record<string, Answers["open"]> = {};
    for (const peer of peers) {
      const identity = await peer.open().catch((error: unknown) => {
        if (peer.name === OURS) throw error;
        log(`${peer.name} does not start: ${error instanceof Error ? error.message : String(error)}`);
        return undefined;
      });
      if (!identity) continue;
      engines[peer.name] = identity;
      log(`${peer.name} ${identity.version}: ${identity.adapter}`);
    }
    const ours = engines[OURS];
    if (!ours) throw new Error(`comparePeers: no engine is called ${OURS}`);
    for (const [name, { adapter }] of Object.entries(engines)) {
      if (adapter !== ours.adapter) throw new Error(`${name} runs on ${adapter}, ours on ${ours.adapter}`);
    }
    const opened = peers.filter(({ name }) => Object.hasOwn(engines, name));
    const standings: WorkloadResult[] = [];
    for (const workload of workloads) {
      const result = await measureWorkload(workload, opened, effort);
      standings.push(result);
      log(headline(result));
    }
    return { engines, standings };
  } finally {
    for (const peer of peers) peer[Symbol.dispose]();
  }
}
