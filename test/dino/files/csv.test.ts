import { expect } from "chai";
import fc from "fast-check";
import { formatCsv, parseCsv } from "../../../dino/files/csv.js";

describe("CSV files", () => {
  it("are read as they were written", () => {
    const field = fc.oneof(fc.string(), fc.constantFrom('"', "a,b", "x\ny", "\r\n", "é", ""));
    const rows = fc.array(fc.array(field, { minLength: 2, maxLength: 4 }));
    fc.assert(
      fc.property(rows, (written) => {
        expect(parseCsv(formatCsv(written))).to.deep.equal(written.map((row) => row.map((text) => text)));
      }),
    );
  });

  it("may have other line ends, a byte order mark, empty lines and no line end at the end", () => {
    expect(parseCsv('\uFEFFfile,label\r\na.png,"cat, ""big"""\r\n\r\nb.png,\nc.png,dog')).to.deep.equal([
      ["file", "label"],
      ["a.png", 'cat, "big"'],
      ["b.png", ""],
      ["c.png", "dog"],
    ]);
    expect(parseCsv("a,")).to.deep.equal([["a", ""]]);
    expect(parseCsv("")).to.deep.equal([]);
  });

  it("damaged, are rows or an error", () => {
    expect(() => parseCsv('a,b\nc,"d')).to.throw("CSV: the quote in row 2 is not closed");
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('"', ",", "\n", "\r", "a") }), (text) => {
        try {
          for (const row of parseCsv(text)) expect(row.length).to.be.above(0);
        } catch (error) {
          expect((error as Error).message).to.match(/^CSV: the quote in row \d+ is not closed$/);
        }
      }),
    );
  });
});
