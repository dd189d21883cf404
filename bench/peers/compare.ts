/** Our engine beside others, on the same adapter in the same run. */
import { OURS } from "./engines.js";
import type { Answers } from "./host.js";
import { startPeer, type PeerSpec } from "./peer-process.js";
import { headline } from "./table.js";
import { type Effort, measureWorkload, type WorkloadResult } from "./workload-timing.js";
import type { Workload } from "./workloads.js";

/** Who took part, on what, and what came of each workload. */
export interface PeerComparison {
  readonly engines: Readonly<Record<string, Answers["open"]>>;
  readonly standings: readonly WorkloadResult[];
}

/**
 * Runs the workloads in every engine. One that does not open is told of and left out.
 * Throws where ours does not open, and where one runs on another adapter than ours.
 */
export async function comparePeers(
  specs: readonly PeerSpec[],
  workloads: readonly Workload[],
  effort: Effort,
  log: (line: string) => void,
): Promise<PeerComparison> {
  const all = specs.map(startPeer);
  try {
    const engines: Record<string, Answers["open"]> = {};
    for (const who of all) {
      const identity = await who.open().catch((error: unknown) => {
        if (who.name === OURS) throw error;
        log(`${who.name} does not start: ${error instanceof Error ? error.message : String(error)}`);
        return undefined;
      });
      if (!identity) continue;
      engines[who.name] = identity;
      log(`${who.name} ${identity.version}: ${identity.adapter}`);
    }
    const ours = engines[OURS];
    if (!ours) throw new Error(`comparePeers: no entrant is called ${OURS}`);
    for (const [name, { adapter }] of Object.entries(engines)) {
      if (adapter !== ours.adapter) throw new Error(`${name} runs on ${adapter}, ours on ${ours.adapter}`);
    }
    const opened = all.filter(({ name }) => Object.hasOwn(engines, name));
    const standings: WorkloadResult[] = [];
    for (const workload of workloads) {
      const standing = await measureWorkload(workload, opened, effort);
      standings.push(standing);
      log(headline(standing));
    }
    return { engines, standings };
  } finally {
    for (const who of all) who[Symbol.dispose]();
  }
}
