/** How commands fail: one line on stderr, and an exit code. */
import { CommanderError } from "commander";
import { SettingsError } from "../config/resolve.js";
import { Interrupted } from "../training/interrupt.js";
import { UsageError } from "./flags.js";
import { oneLine } from "./output.js";

/** Says on stderr what went wrong, on which rank if there are several; returns the exit code. */
export function reportError(error: unknown, rank?: number): number {
  const message = error instanceof Error ? error.message : String(error);
  const who = rank === undefined ? "dino" : `dino: rank ${rank}`;
  process.stderr.write(`${who}: ${oneLine(message)}\n`);
  if (process.env["DEBUG"] && error instanceof Error) process.stderr.write(`${error.stack ?? ""}\n`);
  const isUsage = [CommanderError, UsageError, SettingsError].some((type) => error instanceof type);
  return isUsage ? 2 : error instanceof Interrupted ? error.exitCode : 1;
}
