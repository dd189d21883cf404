import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import {
  analysisConfig,
  type Corner,
  corners,
  cornerSettings,
  assessCorner,
} from "../../../dino/experiments/analyse.js";
import type { StepLine } from "../../../dino/run/log.js";
import { dino, drawFolder, tiny } from "../../support/command-line.js";

/** A log that stays at these values. */
function logOf(teacherEntropy: number, klDivergence: number) {
  const line = { teacherEntropy, klDivergence } as StepLine;
  return { steps: Array.from({ length: 8 }, () => line), epochs: [], evaluations: [] };
}

describe("the analysis of collapse", () => {
  const lnK = Math.log(64);
  const ends: readonly (readonly [string, number, number, readonly Corner[]])[] = [
    ["a run that learns", 0.5 * lnK, 1, ["both"]],
    ["one target for all images", 0.001, 0.01, ["sharpening only", "neither"]],
    ["uniform targets", 0.999 * lnK, 0.001, ["centering only", "neither"]],
    ["a constant output in between", 0.5 * lnK, 0.001, ["neither"]],
    ["sharp targets that the student does not meet", 0.001, 1, []],
  ];
  for (const [what, entropy, klDivergence, expected] of ends) {
    it(`takes ${what} for ${expected.join(", ") || "none of the corners"}`, () => {
      const fitting = corners.filter((corner) => assessCorner(corner, logOf(entropy, klDivergence), 64).asExpected);
      expect(fitting).to.deep.equal(expected);
    });
  }

  it("looks at the end of a log only", () => {
    const steps = [...logOf(0, 5).steps.slice(0, 6), ...logOf(2, 1).steps.slice(0, 2)];
    expect(assessCorner("both", { steps, epochs: [], evaluations: [] }, 64)).to.include({
      entropy: 2,
      klDivergence: 1,
    });
  });

  it("takes away centering, sharpening or both, and nothing else", () => {
    const config = analysisConfig({ useBnInHead: true }, "out");
    const settings = Object.fromEntries(
      corners.map((corner) => [corner, { ...config, ...cornerSettings(corner, config) }]),
    );
    for (const corner of corners) {
      const { centerMomentum, teacherTemp, warmupTeacherTemp, ...others } = settings[corner]!;
      expect(centerMomentum === 1, corner).to.equal(corner === "sharpening only" || corner === "neither");
      expect(teacherTemp === config.studentTemp, corner).to.equal(corner === "centering only" || corner === "neither");
      expect(warmupTeacherTemp).to.equal(teacherTemp);
      expect(config).to.deep.include(others);
    }
  });
});

describe("dino analyse", function () {
  this.timeout(120_000);
  let folder: string;
  let photos: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-analyse-"));
    photos = join(folder, "photos");
    await drawFolder(photos, 8);
  });
  after(() => rm(folder, { recursive: true }));

  it("collapse trains the four corners, draws them, and fails where they did not end as the paper says", async () => {
    const out = join(folder, "collapse");
    const { code, stdout, stderr } = await dino(
      ...["analyse", "collapse", "--data", photos, "--out", out, ...tiny, "--steps", "3", "--json"],
    );
    const found = JSON.parse(stdout) as { lnK: number; corners: readonly { corner: string; asExpected: boolean }[] };
    expect(found.lnK).to.be.closeTo(Math.log(32), 1e-12);
    expect(found.corners.map(({ corner }) => corner)).to.deep.equal(corners);
    expect(JSON.parse(await readFile(join(out, "collapse.json"), "utf8"))).to.deep.equal(found);
    for (const name of ["collapse.svg", "collapse.png", "neither/log.jsonl"]) {
      expect(existsSync(join(out, name)), name).to.equal(true);
    }
    const strange = found.corners.filter(({ asExpected }) => !asExpected);
    expect(strange, "after three steps no corner can have been reached").not.to.deep.equal([]);
    expect(code).to.equal(1);
    expect(stderr).to.include(strange[0]!.corner).and.include("did not end as in the paper");
  });

  it("teacher measures both networks from the first step to the last", async () => {
    const out = join(folder, "teacher");
    const { code, stdout, stderr } = await dino(
      ...["analyse", "teacher", "--data", photos, "--held-out", "0.4", "--out", out, ...tiny, "--steps", "4", "--json"],
    );
    expect(code, stderr).to.equal(0);
    const { points } = JSON.parse(stdout) as {
      points: readonly { step: number; teacher: number; student: number }[];
    };
    expect(points.map(({ step }) => step)).to.deep.equal([0, 1, 2, 3, 4]);
    expect(points[0]!.teacher).to.equal(points[0]!.student);
    for (const { teacher, student } of points)
      expect([teacher, student].every((x) => x >= 0 && x <= 100)).to.equal(true);
    expect(existsSync(join(out, "teacher.png"))).to.equal(true);
  });
});
