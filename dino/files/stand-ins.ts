/** Texts that lie where a file of images or weights should be. */

/** Number of bytes that `standInOf` looks at. */
export const STAND_IN_BYTES = 64;

const standIns = [
  {
    begins: /^version https:\/\/git-lfs\.github\.com\//,
    what: "a pointer of Git LFS in place of the file; fetch the file with: git lfs pull",
  },
  {
    begins: /^\s*<(!doctype html|html)\b/i,
    what: "a page of HTML in place of the file, as of a failed download; download the file again",
  },
] as const;

/** Returns what a file that begins with these bytes is, and the way out; undefined if it is none of the texts. */
export function standInOf(head: Uint8Array): string | undefined {
  const text = String.fromCharCode(...head.subarray(0, STAND_IN_BYTES));
  return standIns.find(({ begins }) => begins.test(text))?.what;
}
