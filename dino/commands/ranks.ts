/** Work that all ranks do together. */
import { openWorld, type World } from "../mpi/world.js";
import { Interrupted } from "../training/interrupt.js";
import { reportError } from "./failure.js";

/** The first rank has so long to say what they all have come to. */
const FIRST_MS = 500;

/** Does what all ranks do together. Where one fails, says so and ends all; an end that was asked for is none. */
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
    if (world.rank > 0) await new Promise((resolve) => setTimeout(resolve, FIRST_MS));
    return await world.abort(reportError(error, world.rank));
  }
}
