/** How commands fail: one line on stderr, and an exit code. */
import { CommanderError } from "commander";
import { Interrupted } from "../training/interrupt.js";
import { openWorld, type World } from "../mpi/world.js";
import { UsageError } from "./flags.js";
import { oneLine } from "./output.js";

/** Says on stderr what went wrong, on which rank if there are several; returns the exit code. */
export function sayFailure(error: unknown, rank?: number): number {
  const message = error instanceof Error ? error.message : String(error);
  const who = rank === undefined ? "dino" : `dino: rank ${rank}`;
  process.stderr.write(`${who}: ${oneLine(message)}\n`);
  if (process.env["DEBUG"] && error instanceof Error) process.stderr.write(`${error.stack ?? ""}\n`);
  const isUsage = error instanceof CommanderError || error instanceof UsageError;
  return isUsage ? 2 : error instanceof Interrupted ? error.exitCode : 1;
}

/** The first rank has so long to say what they all have come to. */
const FIRST_MS = 500;

/** Does what all ranks do together. Where one fails, says so and ends all; an end that was asked for is none. */
export async function amongRanks<T>(work: (world: World) => Promise<T>): Promise<T> {
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
    return await world.abort(sayFailure(error, world.rank));
  }
}
