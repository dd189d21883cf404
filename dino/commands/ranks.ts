/** Runs work on all ranks of a distributed job. */
import { openWorld, type World } from "../mpi/world.js";
import { Interrupted } from "../training/interrupt.js";
import { reportError } from "./failure.js";

/** Time that rank 0 has to report an error all ranks share, before another rank reports it. */
const REPORT_MS = 500;

/** Runs `work` on all ranks. An error is reported and aborts all ranks; a requested stop is not an error. */
export async function runOnRanks<T>(work: (world: World) => Promise<T>): Promise<T> {
  const world = await openWorld();
  try {
    const result = await work(world);
    await world[Symbol.asyncDispose]();
    return result;
  } catch (error) {
    if (world.size === 1) throw error;
    if (error instanceof Interrupted) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
    if (world.rank > 0) await new Promise((resolve) => setTimeout(resolve, REPORT_MS));
    return await world.abort(reportError(error, world.rank));
  }
}
