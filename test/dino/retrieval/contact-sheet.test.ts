import { expect } from "chai";
import type { Picture } from "../../../dino/pictures/drawing.js";
import { contactSheet, type SheetCell } from "../../../dino/retrieval/contact-sheet.js";

/** Cells of ten pixels a side, each of a red of its own. */
const cellsOf = (count: number, from: number): SheetCell[] =>
  Array.from({ length: count }, (_, i) => {
    const pixels = Uint8Array.from({ length: 300 }, (_, at) => (at % 3 === 0 ? from + i : 7));
    return { image: { rows: 10, cols: 10, pixels }, name: `a name much too long to fit below it, ${i}.png`, note: "1" };
  });

function countOf({ rgb }: Picture, red: number): number {
  let count = 0;
  for (let i = 0; i < rgb.length; i += 3) if (rgb[i] === red && rgb[i + 1] === 7 && rgb[i + 2] === 7) count++;
  return count;
}

describe("a contact sheet", () => {
  it("shows every image whole, enlarged by a whole number, whatever the number of rows and lines", () => {
    const rows = [
      { title: "one", lead: cellsOf(1, 10)[0]!, cells: cellsOf(9, 20) },
      { title: "two", lead: cellsOf(1, 40)[0]!, cells: cellsOf(3, 50) },
      { title: "three", cells: cellsOf(1, 60) },
    ];
    const sheet = contactSheet("title", rows);
    for (const red of [10, 40, 60, ...Array.from({ length: 9 }, (_, i) => 20 + i), 50, 51, 52]) {
      expect(countOf(sheet, red), `red ${red}`).to.equal(150 * 150);
    }
  });

  it("shrinks large images, keeping their shape, and says where there is none", () => {
    const pixels = new Uint8Array(300 * 600 * 3).fill(7).map((value, at) => (at % 3 === 0 ? 90 : value));
    const cells = [{ image: { rows: 300, cols: 600, pixels }, name: "x", note: "" }];
    const sheet = contactSheet("title", [{ title: "", cells: [...cells, { image: undefined, name: "y", note: "" }] }]);
    expect(countOf(sheet, 90)).to.equal(150 * 75);
    expect(contactSheet("nothing", []).width).to.be.above(600);
  });
});
