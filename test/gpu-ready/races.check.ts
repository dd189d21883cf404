/** No kernel has a race in workgroup memory. */
import { expect } from "chai";
import { hiddenBarriers, isSlow, withoutBarrier } from "./barriers.js";
import { type Case, casesOf, kernelSets } from "./kernel-sets.js";
import { detectRaces, type RaceDetector } from "./race-detector.js";
import { usesWorkgroupMemory } from "./workgroup-memory.js";

const cases = new Map<string, readonly Case[]>();
for (const set of kernelSets) cases.set(set.name, await casesOf(set, usesWorkgroupMemory));

describe("no races in workgroup memory", function () {
  this.timeout(600_000);
  for (const set of kernelSets) {
    describe(set.name, () => {
      let detector: RaceDetector;
      before(async () => void (detector = detectRaces(await set.device())));
      after(() => detector[Symbol.dispose]());
      for (const { title, run } of cases.get(set.name)!) {
        it(title, async () => {
          await run(detector.device);
          expect(await detector.race()).to.equal(undefined);
        });
      }
    });
  }

  for (const barrier of hiddenBarriers) {
    const { race, file, n } = barrier;
    if (race === undefined) continue;
    it(`but one without barrier ${n} of ${file}${isSlow(barrier) ? " @long" : ""}`, async () => {
      const set = kernelSets.find(({ name }) => name === race.set)!;
      using detector = detectRaces(withoutBarrier(await set.device(), barrier));
      await cases
        .get(race.set)!
        .find(({ title }) => title === race.title)!
        .run(detector.device);
      expect(await detector.race()).to.match(/: \w+\[\d+\], .+ and .+/);
    });
  }
});
