import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { parseSetting } from "../../../dino/config/flags.js";
import { parseConfig } from "../../../dino/config/resolve.js";
import { dino, drawFolder, tiny } from "../../support/command-line.js";

describe("dino train", function () {
  this.timeout(60_000);
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-train-flags-"));
    await drawFolder(join(folder, "photos"), 4);
  });
  after(() => rm(folder, { recursive: true }));

  it("takes the flags of the official code as that spells them", async () => {
    const [data, out] = [join(folder, "photos"), join(folder, "run_1")];
    const official = ["--data_path", data, "--output_dir", out, "--batch_size_per_gpu", "4", "--num_workers=1"];
    const { code, stderr } = await dino("train", ...tiny, ...official, "--steps", "1", "--momentum_teacher=0.99");
    expect(code, stderr).to.equal(0);
    const config = parseConfig(await readFile(join(out, "config.json"), "utf8"));
    expect(config).to.include({ data, out, batch: 4, threads: 1, momentumTeacher: 0.99 });
  });

  it("knows the official names of the ViTs", () => {
    expect(parseSetting("arch", ["deit_small"])).to.equal("vit_small");
    expect(parseSetting("arch", ["deit-tiny"])).to.equal("vit_tiny");
    expect(() => parseSetting("arch", ["deit"])).to.throw("--arch: expected one of vit_tiny, vit_small");
  });
});
