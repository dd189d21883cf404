/**
 * Kernels compute the same whichever thread runs first, and whichever threads run in step: with their threads in another order,
 * in which neighbours are in different subgroups.
 */
import { AssertionError, expect } from "chai";
import type { Device } from "../../engine/core/device.js";
import { withCode } from "../support/changed-device.js";
import { withRolledLoops } from "../support/rolled-loops.js";
import { hiddenBarriers, isSlow, withoutBarrier } from "./barriers.js";
import { wrapEntryPoint } from "./entry-point.js";
import { type Case, casesOf, kernelSets } from "./kernel-sets.js";
import { usesWorkgroupMemory, withoutComments } from "./workgroup-memory.js";

/** Returns the device with the threads of its workgroups, a power of two, in another order. */
function withOtherOrder(device: Device): Device {
  return withCode(device, (code) =>
    usesWorkgroupMemory(code)
      ? wrapEntryPoint(withoutComments(code), ({ size: [x, y, z], named }) => {
          const local = `vec3u(other % ${x}, other / ${x} % ${y}, other / ${x} / ${y})`;
          return {
            before: `let threads = ${x} * ${y} * ${z};
  let other = (5u * threads - 1u - 5u * ${named("local_invocation_index")}) % threads;`,
            given: {
              local_invocation_index: "other",
              local_invocation_id: local,
              global_invocation_id: `${named("workgroup_id")} * vec3u(${x}, ${y}, ${z}) + ${local}`,
            },
          };
        })
      : code,
  );
}

const cases = new Map<string, readonly Case[]>();
for (const set of kernelSets) cases.set(set.name, await casesOf(set, usesWorkgroupMemory));

describe("threads in another order", function () {
  this.timeout(600_000);
  for (const set of kernelSets) {
    describe(set.name, () => {
      let device: Device;
      before(async () => void (device = withRolledLoops(withOtherOrder(await set.device()))));
      for (const { title, run } of cases.get(set.name)!) it(`compute ${title}`, () => run(device));
    });
  }

  for (const barrier of hiddenBarriers) {
    const { race, inEveryOrder, file, n } = barrier;
    if (race === undefined || inEveryOrder) continue;
    it(`show that barrier ${n} of ${file} is missing${isSlow(barrier) ? " @long" : ""}`, async () => {
      const set = kernelSets.find(({ name }) => name === race.set)!;
      const device = withRolledLoops(withOtherOrder(withoutBarrier(await set.device(), barrier)));
      const { run } = cases.get(race.set)!.find(({ title }) => title === race.title)!;
      const error: unknown = await run(device).catch((reason: unknown) => reason);
      expect(error).to.be.instanceOf(AssertionError);
    });
  }
});
