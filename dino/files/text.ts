/** What files say, for messages: they may hold anything. */

const MOST_NAMES = 6;
const MOST_CHARACTERS = 100;

/** A text out of a file, short, and without what a terminal would obey. */
export function printable(text: string, most = MOST_CHARACTERS): string {
  const plain = text.slice(0, most).replaceAll(/\p{Cc}/gu, "?");
  return text.length > most ? `${plain}...` : plain;
}

/** Formats bytes in MiB, with `digits` after the decimal point: "12.3 MiB". */
export function formatMiB(bytes: number, digits = 0): string {
  return `${(bytes / 2 ** 20).toFixed(digits)} MiB`;
}

/** Names, the first few of them, and how many more there are. */
export function joinNames(names: readonly string[]): string {
  if (names.length === 0) return "none";
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  const first = names.slice(0, MOST_NAMES).map((name) => printable(name));
  return first.join(", ") + more;
}
