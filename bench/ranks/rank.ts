/** Process under mpirun: times sums and gathers of growing size; rank 0 prints the results as JSON. */
import { openWorld } from "../../dino/mpi/world.js";
import type { RankEffort, RankTimes } from "./measure.js";

const { sizes, rounds, maxMs } = JSON.parse(process.argv[2]!) as RankEffort;
await using world = await openWorld();

const nothing = new Uint8Array(0);
const calls: (() => Promise<void>)[] = [() => world.allGather(nothing, nothing)];
for (const bytes of sizes) {
  const from = new Float32Array(bytes / 4).fill(world.rank + 1);
  const total = new Float32Array(from.length);
  const share = from.subarray(0, from.length / world.size); // the result of the first half of a ring
  const all = new Float32Array(from.length);
  calls.push(async () => {
    await world.sum(from, total);
    const expected = (world.size * (world.size + 1)) / 2;
    if (total.at(-1) !== expected) throw new Error(`ranks: expected a sum of ${expected}, got ${total.at(-1)}`);
  });
  calls.push(() => world.allGather(share, all));
}

const times = calls.map((): number[] => []);
for (const call of calls) await call();
const start = performance.now();
/** Decides on rank 0 whether all ranks run another round. */
const shouldContinue = async (round: number) => {
  const wantsMore = round < 3 || (round < rounds && performance.now() - start < maxMs);
  return (await world.broadcast(Uint8Array.of(wantsMore ? 1 : 0)))[0] === 1;
};
for (let round = 0; await shouldContinue(round); round++) {
  for (const [i, call] of calls.entries()) {
    const began = performance.now();
    await call();
    times[i]!.push(performance.now() - began);
  }
}
if (world.rank === 0) {
  const [call, ...others] = times;
  const [sums, gathers] = [0, 1].map((kind) => others.filter((_, i) => i % 2 === kind));
  console.log(
    JSON.stringify({ library: world.library ?? "", call: call!, sums: sums!, gathers: gathers! } satisfies RankTimes),
  );
}
