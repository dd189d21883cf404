/** Reports errors of commands: one line on stderr, and an exit code. */
import { CommanderError } from "commander";
import { SettingsError } from "../config/resolve.js";
import { Interrupted } from "../training/interrupt.js";
import { UsageError } from "./flags.js";
import { oneLine } from "./output.js";

/**
 * Prints an error on stderr, with the rank if there are several, and returns the exit code: 2 for a wrong command line,
 * the signal's for an interruption, otherwise 1.
 */
export function reportError(error: unknown, rank?: number): number {
  const message = error instanceof Error ? error.message : String(error);
  const prefix = rank === undefined ? "dino" : `dino: rank ${rank}`;
  process.stderr.write(`${prefix}: ${oneLine(message)}\n`);
  if (process.env["DEBUG"] && error instanceof Error) process.stderr.write(`${error.stack ?? ""}\n`);
  const isUsage = [CommanderError, UsageError, SettingsError].some((type) => error instanceof type);
  return isUsage ? 2 : error instanceof Interrupted ? error.exitCode : 1;
}
