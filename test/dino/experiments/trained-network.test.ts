import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import type { PartialConfig } from "../../../dino/config/settings.js";
import { trainedNetwork } from "../../../dino/experiments/trained-network.js";
import { runFiles } from "../../../dino/run/run-folder.js";
import { openDevice } from "../../../engine/adapters/node.js";
import { drawFolder } from "../../support/command-line.js";
import { temporaryFolders } from "../../support/temporary-folders.js";

describe("the network for a folder of images", () => {
  const folder = temporaryFolders("dino-network");
  const write = process.stderr.write.bind(process.stderr);
  before(() => (process.stderr.write = () => true)); // the progress of trainings
  after(() => (process.stderr.write = write));
  const small: PartialConfig = { steps: 2, depth: 1, dim: 16, heads: 2, imageSize: { rows: 16, cols: 16 } };

  it("is trained by the preset auto, and taken again for the same images alone", async () => {
    const [photos, others, runs] = [await folder(), await folder(), await folder()];
    await drawFolder(photos, 4);
    await cp(photos, others, { recursive: true });
    using device = await openDevice();
    const lines: string[] = [];
    const of = async (data: string, name: string, settings = small) => {
      lines.length = 0;
      const log = (line: string): void => void lines.push(line);
      return trainedNetwork({ data, settings, roots: [runs], out: join(runs, name), device, log });
    };
    const first = await of(photos, "first", { ...small, background: "gray" });
    expect(first).to.equal(runFiles(join(runs, "first")).checkpoint);
    expect(lines[0]).to.match(/^no finished run on .+: training one in .+first by --preset auto/);
    const config = JSON.parse(await readFile(runFiles(join(runs, "first")).config, "utf8")) as object;
    expect(config).to.deep.include({ preset: "auto", steps: 2, background: "gray" });

    expect(await of(photos, "second")).to.equal(first);
    expect(lines).to.deep.equal([
      `network of ${join(runs, "first")}, the newest finished run on ${photos}; --checkpoint takes another`,
    ]);
    expect(await of(others, "third")).to.equal(runFiles(join(runs, "third")).checkpoint);
  });
});
