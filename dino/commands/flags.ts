/** Values of flags, checked while the command line is read. */
import { InvalidArgumentError } from "commander";

/** A command line that makes no sense: exit code 2, where all else that fails exits with 1. */
export class UsageError extends Error {}

export function wholeNumber(word: string): number {
  const value = Number(word);
  if (word.trim() === "" || !Number.isSafeInteger(value) || value < 0) {
    throw new InvalidArgumentError(`Expected a whole number.`);
  }
  return value;
}

export function wholeNumbersFromZero(word: string, before: readonly number[] | undefined): readonly number[] {
  return [...(before ?? []), ...word.split(",").map(wholeNumber)];
}

export function wholeNumbers(word: string, before: readonly number[] | undefined): readonly number[] {
  const values = wholeNumbersFromZero(word, before);
  if (values.includes(0)) throw new InvalidArgumentError("Expected 1 or more.");
  return values;
}

export function share(word: string): number {
  const value = Number(word);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError("Expected a share above 0 and below 1.");
  return value;
}

export function positive(word: string): number {
  const value = Number(word);
  if (!(value > 0 && value < Infinity)) throw new InvalidArgumentError("Expected a number above 0.");
  return value;
}

/** What `read` throws is the fault of the command line. */
export function asUsage<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}
