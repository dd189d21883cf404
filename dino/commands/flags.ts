/** Parsers for the values of flags, which run while the command line is read. */
import { InvalidArgumentError } from "commander";

/** A wrong command line: exit code 2, where all other errors exit with 1. */
export class UsageError extends Error {}

export function wholeNumber(word: string): number {
  const value = Number(word);
  if (word.trim() === "" || !Number.isSafeInteger(value) || value < 0) {
    throw new InvalidArgumentError(`Expected a whole number.`);
  }
  return value;
}

export function count(word: string): number {
  const value = wholeNumber(word);
  if (value === 0) throw new InvalidArgumentError("Expected 1 or more.");
  return value;
}

/** DINO on the keys of a telephone. */
export const DEFAULT_PORT = 3466;

/** Parses a port; 0 stands for any free one. */
export function port(word: string): number {
  const value = wholeNumber(word);
  if (value > 65535) throw new InvalidArgumentError("Expected 0 to 65535.");
  return value;
}

export function wholeNumbersFromZero(word: string, before: readonly number[] | undefined): readonly number[] {
  return [...(before ?? []), ...word.split(",").map(wholeNumber)];
}

export function wholeNumbers(word: string, before: readonly number[] | undefined): readonly number[] {
  return [...(before ?? []), ...word.split(",").map(count)];
}

export function share(word: string): number {
  const value = Number(word);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError("Expected a share above 0 and below 1.");
  return value;
}

/** Parses a number from 0 to 1, inclusive. */
export function probability(word: string): number {
  const value = Number(word);
  if (word.trim() === "" || !(value >= 0 && value <= 1)) throw new InvalidArgumentError("Expected 0 to 1.");
  return value;
}

export function zeroOrMore(word: string): number {
  const value = Number(word);
  if (word.trim() === "" || !(value >= 0 && value < Infinity)) throw new InvalidArgumentError("Expected 0 or more.");
  return value;
}

export function positive(word: string): number {
  const value = Number(word);
  if (!(value > 0 && value < Infinity)) throw new InvalidArgumentError("Expected a number above 0.");
  return value;
}

/** Parses one or several numbers above 0, separated by commas or given as separate arguments. */
export function positives(word: string, before: readonly number[] | undefined): readonly number[] {
  return [...(before ?? []), ...word.split(",").map(positive)];
}

export function pngFile(word: string): string {
  if (!word.toLowerCase().endsWith(".png")) throw new InvalidArgumentError("Expected a file ending in .png.");
  return word;
}

/** Runs `read` and turns its errors into a `UsageError`. */
export function asUsage<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}
