import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import type { LeftOut } from "../../../../dino/images/sources/folder-list.js";
import { openData } from "../../../../dino/images/sources/open.js";
import { fuzzRuns } from "../../../support/fuzz.js";
import { tiff } from "../formats/written-formats.js";
import { inFolder, pngs } from "./written-images.js";

const csv = "file_name,label\n0.png,cat\n./1.png,dog\nmore/2.png,cat\n";

/** Opens 0.png, 1.png and more/2.png beside a metadata file. */
async function opened(file: string, text: string) {
  return inFolder(async (folder) => {
    await mkdir(join(folder, "more"));
    const names = ["0.png", "1.png", "more/2.png"];
    for (const [i, png] of (await pngs(3)).entries()) await writeFile(join(folder, names[i]!), png);
    await writeFile(join(folder, file), text);
    const leftOut: LeftOut[] = [];
    const images = await openData(folder, { onLeftOut: (_, some) => leftOut.push(...some) });
    const { classes, labels, whyUnlabelled } = images;
    const reason = whyUnlabelled?.replace(folder, "FOLDER");
    return { labels: labels && Array.from(labels, (label) => classes[label]), reason, leftOut };
  });
}

/** Writes the rows of `csv` as JSON Lines. */
const linesOf = (...rows: readonly object[]) => rows.map((row) => JSON.stringify(row)).join("\n");

describe("metadata files of folders", () => {
  it("give the classes of images, in either form", async () => {
    const lines = linesOf(
      { file_name: "more/2.png", label: 7 },
      { file_name: "0.png", label: 7, caption: "seven" },
      { file_name: "1.png", label: 0 },
    );
    expect((await opened("metadata.csv", csv)).labels).to.deep.equal(["cat", "dog", "cat"]);
    expect((await opened("metadata.jsonl", lines)).labels).to.deep.equal(["7", "0", "7"]);
  });

  it("give them in a column of another name, if its values alone repeat", async () => {
    const rows = ["0.png,a b,x", "1.png,c,y", "more/2.png,d,x", "3.png,e,y"];
    const text = ["file_name,text,kind", ...rows].join("\n");
    const { labels, leftOut } = await opened("metadata.csv", text);
    expect(labels).to.deep.equal(["x", "y", "x"]);
    expect(leftOut).to.deep.include({ kind: "rows of metadata.csv that name no image", count: 1 });
    const two = ["file_name,kind,more", "0.png,x,1", "1.png,y,1", "more/2.png,x,2", "3.png,y,2"].join("\n");
    expect((await opened("metadata.csv", two)).reason).to.equal(
      "FOLDER/metadata.csv: expected a column label, or one other column of few values, got file_name, kind, more",
    );
  });

  it("give a page the class of its file", () =>
    inFolder(async (folder) => {
      const page = { rows: 2, cols: 2, bits: 8, samples: new Uint8Array(4) };
      await writeFile(join(folder, "a.tif"), tiff([page, page]));
      await writeFile(join(folder, "b.tif"), tiff([page]));
      await writeFile(join(folder, "metadata.csv"), "file_name,label\na.tif,x\nb.tif,y\n");
      const { labels, count } = await openData(folder);
      expect(count).to.equal(3);
      expect([...labels!]).to.deep.equal([0, 0, 1]);
    }));

  it("say why they give none", async () => {
    const reasonOf = async (text: string, file = "metadata.csv") => {
      const { labels, reason } = await opened(file, text);
      expect(labels).to.equal(undefined);
      return reason;
    };
    expect(await reasonOf(csv.replace("1.png", "9.png"))).to.equal(
      "1 of 3 images have no class, which metadata.csv has in its column label",
    );
    expect(await reasonOf("file_name,label\n8.png,a\n9.png,b\n")).to.equal(
      "FOLDER/metadata.csv: expected names of images, got 8.png, 9.png",
    );
    expect(await reasonOf("name,label\n0.png,a\n")).to.equal(
      "FOLDER/metadata.csv: expected a column file_name, got name, label",
    );
    expect(await reasonOf("")).to.equal("FOLDER/metadata.csv: expected a column file_name, got none");
    expect(await reasonOf(`${csv}0.png,dog\n`)).to.equal(
      "FOLDER/metadata.csv: 0.png has two labels in the column label",
    );
    expect(await reasonOf(`${csv}3.png\n`)).to.match(/CSV: expected 2 fields in row 5, as in the first, got 1/);
    expect(await reasonOf(`${csv}"3.png\n`)).to.match(/CSV: the quote in row 5 is not closed/);
    expect(await reasonOf('{"file_name": "0.png"}\n[]', "metadata.jsonl")).to.equal(
      "FOLDER/metadata.jsonl: JSON Lines: expected an object in line 2",
    );
    expect(await reasonOf(linesOf({ file_name: 3, label: "a" }), "metadata.jsonl")).to.equal(
      "FOLDER/metadata.jsonl: expected a name in file_name, got 3",
    );
  });

  it("do no harm when they are damaged", () =>
    inFolder(async (folder) => {
      for (const [i, png] of (await pngs(2)).entries()) await writeFile(join(folder, `${i}.png`), png);
      const lines = linesOf({ file_name: "0.png", label: "a" }, { file_name: "1.png", label: "b" });
      const change = fc.record({ at: fc.nat(), value: fc.nat(255), isCsv: fc.boolean() });
      await fc.assert(
        fc.asyncProperty(change, async ({ at, value, isCsv }) => {
          const bytes = Buffer.from(isCsv ? "file_name,label\n0.png,a\n1.png,b\n" : lines);
          bytes[at % bytes.length] = value;
          await writeFile(join(folder, "metadata.csv"), isCsv ? bytes : "");
          await writeFile(join(folder, "metadata.jsonl"), bytes);
          const { labels, whyUnlabelled, count } = await openData(folder);
          expect(count).to.equal(2);
          expect(labels === undefined).to.equal(whyUnlabelled !== undefined);
        }),
        { numRuns: fuzzRuns(200) },
      );
    }));

  it("leave classes to subfolders, where these give them", () =>
    inFolder(async (folder) => {
      for (const [i, png] of (await pngs(2)).entries()) {
        await mkdir(join(folder, `${i}`));
        await writeFile(join(folder, `${i}`, "a.png"), png);
      }
      await writeFile(join(folder, "metadata.csv"), "file_name,label\n0/a.png,x\n1/a.png,x\n");
      expect((await openData(folder)).classes).to.deep.equal(["0", "1"]);
    }));
});
