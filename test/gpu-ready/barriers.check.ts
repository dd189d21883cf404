/** Every barrier is needed: without it some case fails, except for those that lavapipe hides, which are listed. */
import { AssertionError, expect } from "chai";
import type { Device } from "../../engine/core/device.js";
import type { OpRow } from "../engine/ops/check-op.js";
import { testDevice } from "../support/device.js";
import { withRolledLoops } from "../support/rolled-loops.js";
import { type Barrier, barriers, hiddenBarriers, isSlow, withoutBarrier } from "./barriers.js";
import { type Case, casesOf, type KernelSet, kernelSets } from "./kernel-sets.js";
import { usesWorkgroupMemory } from "./workgroup-memory.js";

/** Kernels made for CPUs. */
const NOT_FOR_GPUS = /^attention-subgroups/;

/** The cases of a file, and the set of kernels that they belong to. */
interface Users {
  readonly set: KernelSet;
  readonly cases: readonly Case[];
}

/** The forward of a row alone, which compiles in half the time, then the row itself. */
const forwardFirst = (row: OpRow): readonly OpRow[] => [{ ...row, fixed: [...row.inputs.keys()] }, row];

/** Returns what uses each file, in the first set of kernels that does. */
async function findUsers(): Promise<ReadonlyMap<string, Users>> {
  const users = new Map<string, Users>();
  for (const set of kernelSets) {
    const all = await casesOf(set, usesWorkgroupMemory, forwardFirst);
    for (const file of new Set(all.flatMap(({ files }) => [...files]))) {
      if (!users.has(file)) users.set(file, { set, cases: all.filter(({ files }) => files.has(file)) });
    }
  }
  return users;
}

async function fails({ run }: Case, device: Device): Promise<boolean> {
  try {
    await run(device);
    return false;
  } catch (error) {
    if (error instanceof AssertionError) return true;
    throw error;
  }
}

async function isNoticed(barrier: Barrier, { set, cases }: Users): Promise<boolean> {
  const mutant = withRolledLoops(withoutBarrier(await set.device(), barrier));
  for (const each of cases) if (await fails(each, mutant)) return true;
  return false;
}

describe("without one of its barriers a kernel fails", function () {
  this.timeout(600_000);
  let users: ReadonlyMap<string, Users>;
  before(async function () {
    if ((await testDevice()).adapterKind !== "lavapipe") this.skip(); // others hide other barriers
    users = await findUsers();
  });

  for (const barrier of barriers.filter(({ file }) => !NOT_FOR_GPUS.test(file))) {
    const { file, n } = barrier;
    const isHidden = hiddenBarriers.some((each) => each.file === file && each.n === n);
    const title = `${file}, barrier ${n}${isHidden ? ", which lavapipe hides" : ""}`;
    it(isSlow(barrier) ? `${title} @long` : title, async () =>
      expect(await isNoticed(barrier, users.get(file)!), "noticed").to.equal(!isHidden),
    );
  }
});
