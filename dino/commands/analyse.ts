/** `dino analyse` */
import { join } from "node:path";
import { Argument, type Command, Option } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { type AnalysisOptions, analysisConfig, analyseCollapse, analyseTeacher } from "../experiments/analyse.js";
import { openSplits } from "../images/sources/open-splits.js";
import { asUsage } from "./flags.js";
import { printToStderr, print, printJson } from "./output.js";
import { addSettings, readFlags } from "./train.js";

export function addAnalyse(dino: Command): void {
  const command = dino
    .command("analyse")
    .description("repeat an analysis of the paper and draw its figure")
    .addArgument(
      new Argument(
        "<what>",
        "collapse: entropy and KL divergence with and without centering and sharpening; teacher: accuracy of teacher and student over time",
      ).choices(["collapse", "teacher"]),
    )
    .addOption(new Option("--overwrite", "repeat runs that already exist").helpGroup("Options:"))
    .addOption(new Option("--json", "print the result as JSON and nothing else").helpGroup("Options:"));
  addSettings(command)
    .addHelpText(
      "after",
      "\nBoth train on the built-in images with the demo's recipe and write to runs/WHAT; flags of dino train change this.\n" +
        "\nExamples:\n" +
        "  dino analyse collapse --steps 200\n" +
        "  dino analyse teacher --data photos --held-out 0.2 --preset small-images --out runs/teacher",
    )
    .action(async (what: "collapse" | "teacher", options: Readonly<Record<string, unknown>>) => {
      const flags = asUsage(() => readFlags(options));
      const config = analysisConfig(flags, flags.out ?? join("runs", what));
      const splits = await openSplits(config.data, config);
      using device = await openDevice();
      const overwrite = options["overwrite"] === true;
      const analysis: AnalysisOptions = { device, splits, config, overwrite, log: (line) => printToStderr(line) };
      if (what === "teacher") {
        const found = await analyseTeacher(analysis);
        if (options["json"] === true) printJson(found);
        else {
          const percent = (value: number) => `${value.toFixed(2).padStart(6)} %`;
          const rows = found.points.map(
            ({ step, teacher, student }) =>
              `step ${String(step).padStart(6)}   teacher ${percent(teacher)}   student ${percent(student)}`,
          );
          print(...rows, found.svg, found.png);
        }
        return;
      }
      const found = await analyseCollapse(analysis);
      if (options["json"] === true) printJson(found);
      else {
        const rows = found.corners.map(
          ({ corner, entropy, klDivergence, expected, asExpected }) =>
            `${corner.padEnd(16)} entropy ${entropy.toFixed(3)}   KL ${klDivergence.toFixed(4)}   ` +
            `${asExpected ? "as expected" : "NOT AS EXPECTED"}: ${expected}`,
        );
        print(`ln K = ${found.lnK.toFixed(3)}`, ...rows, found.svg, found.png);
      }
      const unexpected = found.corners.filter(({ asExpected }) => !asExpected).map(({ corner }) => corner);
      if (unexpected.length > 0) {
        throw new Error(
          `analyse collapse: ${unexpected.join(", ")} did not end as in the paper; the figure shows the course, more --steps may help`,
        );
      }
    });
}
