/** Text for messages. */

const MOST_NAMES = 6;
const MOST_CHARACTERS = 100;

/** Shortens text read from a file and replaces control characters, which a terminal would obey. */
export function printable(text: string, most = MOST_CHARACTERS): string {
  const plain = text.slice(0, most).replaceAll(/\p{Cc}/gu, "?");
  return text.length > most ? `${plain}...` : plain;
}

/** Joins the first few names with commas and appends the number of the others. */
export function joinNames(names: readonly string[]): string {
  if (names.length === 0) return "none";
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  const first = names.slice(0, MOST_NAMES).map((name) => printable(name));
  return first.join(", ") + more;
}

/** Formats bytes as mebibytes, rounded up unless `round` says otherwise. */
export function formatMiB(bytes: number, round: (mebibytes: number) => number | string = Math.ceil): string {
  return `${round(bytes / 2 ** 20)} MiB`;
}

/** Quotes an argument for a shell if it has spaces or special characters. */
export function quoted(word: string): string {
  return /^[\w./:,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
