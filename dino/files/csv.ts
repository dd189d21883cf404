/** CSV files as in RFC 4180: fields between commas, quoted if they hold commas, quotes or line breaks. */

/** Parses a file into rows of fields; empty lines are left out. Throws for a quote that is not closed. */
export function parseCsv(text: string): readonly (readonly string[])[] {
  const rows: string[][] = [];
  const plain = text.replace(/^\uFEFF/, "");
  let row: string[] = [];
  let at = 0;
  while (at < plain.length) {
    let field: string;
    if (plain[at] === '"') {
      [field, at] = quotedField(plain, at, rows.length);
    } else {
      const end = endOfField(plain, at);
      field = plain.slice(at, end);
      at = end;
    }
    row.push(field);
    if (plain[at] === ",") {
      at++;
      if (at === plain.length) row.push("");
      continue;
    }
    if (plain[at] === "\r") at++;
    if (plain[at] === "\n") at++;
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  }
  if (row.length > 0) rows.push(row);
  return rows;
}

/** Reads a quoted field; returns it and the place after it. */
function quotedField(text: string, start: number, row: number): [string, number] {
  let field = "";
  for (let at = start + 1; ;) {
    const quote = text.indexOf('"', at);
    if (quote < 0) throw new Error(`CSV: the quote in row ${row + 1} is not closed`);
    field += text.slice(at, quote);
    if (text[quote + 1] === '"') {
      field += '"';
      at = quote + 2;
      continue;
    }
    const end = endOfField(text, quote + 1);
    return [field + text.slice(quote + 1, end), end];
  }
}

function endOfField(text: string, start: number): number {
  let at = start;
  while (at < text.length && text[at] !== "," && text[at] !== "\n" && text[at] !== "\r") at++;
  return at;
}

/** Writes rows of fields. */
export function formatCsv(rows: readonly (readonly (string | number)[])[]): string {
  const format = (field: string | number): string =>
    /[",\r\n]/.test(`${field}`) ? `"${`${field}`.replaceAll('"', '""')}"` : `${field}`;
  return rows.map((row) => `${row.map(format).join(",")}\n`).join("");
}
