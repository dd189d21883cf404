import { expect } from "chai";
import sharp from "sharp";
import { chartSvg, type Panel, svgToPng } from "../../../dino/pictures/charts.js";
import { rejection } from "../../support/rejection.js";

const panel: Panel = {
  title: "Entropy",
  x: "step",
  y: "nats",
  series: [
    {
      name: "falling",
      points: [
        [0, 3],
        [10, 2],
        [20, NaN],
        [30, 1],
      ],
    },
    {
      name: "flat",
      points: [
        [0, 2],
        [30, 2],
      ],
    },
  ],
  marks: [{ y: 3.5, label: "ln K" }],
};

describe("charts", () => {
  it("name their axes, lines and marks, and draw the same twice", async () => {
    const svg = await chartSvg({ title: "Collapse", panels: [panel, { ...panel, title: "KL" }] });
    for (const word of ["Collapse", "Entropy", "KL", "step", "nats", "falling", "flat", "ln K"]) {
      expect(svg).to.include(`>${word}<`);
    }
    expect(svg).not.to.match(/NaN|undefined/);
    expect((await chartSvg({ title: "Collapse", panels: [panel, { ...panel, title: "KL" }] })) === svg).to.equal(true);
  });

  it("keep values in words in their order", async () => {
    const points = [["sgd", 1] as const, ["adamw", 2] as const, ["lars", 3] as const];
    const svg = await chartSvg({
      title: "t",
      panels: [{ title: "p", x: "optimizer", y: "percent", series: [{ name: "a", points }], points: true }],
    });
    const places = ["sgd", "adamw", "lars"].map((word) => svg.indexOf(`>${word}<`));
    expect(Math.min(...places)).to.be.above(0);
    expect(places).to.deep.equal([...places].sort((a, b) => a - b));
  });

  it("become PNG files of twice the size, with text in them", async () => {
    const svg = await chartSvg({ title: "", panels: [{ ...panel, series: [], marks: [] }] });
    const width = Number(/width="([\d.]+)"/.exec(svg)![1]);
    const png = svgToPng(svg);
    const { width: pixels } = await sharp(png).metadata();
    expect(pixels).to.be.closeTo(2 * width, 2);
    const dark = (bytes: Buffer) => bytes.reduce((sum, value) => sum + (value < 100 ? 1 : 0), 0);
    const lettered = dark(await sharp(png).greyscale().raw().toBuffer());
    const bare = dark(
      await sharp(svgToPng(svg.replaceAll(/<text[^>]*>[^<]*<\/text>/g, "")))
        .greyscale()
        .raw()
        .toBuffer(),
    );
    expect(lettered).to.be.above(bare + 100);
  });

  it("need a panel", async () => {
    expect(await rejection(chartSvg({ title: "none", panels: [] }))).to.include(
      "chart none: expected at least one panel",
    );
  });
});
