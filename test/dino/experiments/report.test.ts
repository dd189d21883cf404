import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { formatConfig } from "../../../dino/config/resolve.js";
import { writeReport } from "../../../dino/experiments/report.js";
import { dino, drawFolder } from "../../support/command-line.js";
import { testDevice } from "../../support/device.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";

describe("dino report", function () {
  this.timeout(60_000);
  let folder: string;
  let data: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-report-"));
    data = join(folder, "photos");
    await drawFolder(data, 6);
  });
  after(() => rm(folder, { recursive: true }));

  /** Writes a run with a network of a family, and returns its folder. */
  async function makeRun(family: (typeof families)[number]): Promise<string> {
    const run = join(folder, `a <run> & more of ${family}`);
    await mkdir(run, { recursive: true });
    const config = await writeModelOf(family, join(run, "checkpoint.safetensors"));
    await writeFile(join(run, "config.json"), formatConfig({ ...config, data }));
    const line = { epoch: 0, loss: 3, teacherEntropy: 1, klDivergence: 2, meanTargetEntropy: 3, studentSpread: 0.5 };
    const rest = { teacherSpread: 0.5, gradientNorm: null, lr: 0.001, imagesPerSecond: 9 };
    const lines = [
      ...[10, 20, 30].map((step) => ({ ...line, ...rest, step })),
      { type: "epoch", step: 30, epoch: 0, loss: 3, knn: { k: 20, top1: 77.25, top5: 99 } },
    ];
    await writeFile(join(run, "log.jsonl"), lines.map((one) => `${JSON.stringify(one)}\n`).join(""));
    return run;
  }

  for (const family of families) {
    it(`makes one page of everything with ${family}, which needs no other file`, async () => {
      const run = await makeRun(family);
      const { code, stdout, stderr } = await dino("report", run, "--json");
      expect(code, stderr).to.equal(0);
      const found = JSON.parse(stdout) as { report: string; bytes: number };
      expect(found).to.include({ report: join(run, "report.html"), steps: 30, images: 6, candidates: 12 });
      const html = await readFile(found.report, "utf8");
      expect(Buffer.byteLength(html)).to.equal(found.bytes);
      for (const title of ["Summary", "Training", "Attention", "Patch features", "Nearest neighbours", "Settings"]) {
        expect(html).to.include(`<h2>${title}</h2>`);
      }
      expect(html).to.include("77.25 %").and.include("a &lt;run&gt; &amp; more").and.not.include("<run>");
      const sources = Array.from(html.matchAll(/(?:src|href)="([^"]{0,24})/g), ([, source]) => source!);
      expect(sources.length).to.be.above(50);
      for (const source of sources) expect(source).to.match(/^data:image\//);
    });
  }

  it("leaves pictures out where the images are gone, and says so", async () => {
    const out = join(folder, "bare.html");
    const gone = join(folder, "gone");
    const run = await makeRun("DINO");
    const found = await writeReport({ device: await testDevice(), run, data: gone, out });
    expect(found.missing).to.include(gone);
    const html = await readFile(out, "utf8");
    expect(html).to.include("<h2>Training</h2>").and.include("dino report --data FOLDER shows other images");
    expect(html).not.to.include("<h2>Attention</h2>");
  });

  it("refuses a folder that is no run, and names a damaged line of a log", async () => {
    const device = await testDevice();
    const out = join(folder, "none.html");
    expect(await rejection(writeReport({ device, run: folder, out }))).to.include("expected the folder of a run");
    const [run, damaged] = [await makeRun("DINO"), join(folder, "damaged")];
    await mkdir(damaged);
    await writeFile(join(damaged, "config.json"), await readFile(join(run, "config.json")));
    const [line] = (await readFile(join(run, "log.jsonl"), "utf8")).split("\n");
    await writeFile(join(damaged, "log.jsonl"), `${line!}\n{"step":\n`);
    expect(await rejection(writeReport({ device, run: damaged, out }))).to.include(
      "log.jsonl:2: expected a line of a log",
    );
  });
});
