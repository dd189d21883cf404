/** `dino demo` */
import { join } from "node:path";
import type { Command } from "commander";
import { demo } from "../experiments/demo.js";
import { wholeNumber } from "./flags.js";
import { print, printToStderr, printJson } from "./output.js";

interface DemoFlags {
  readonly out: string;
  readonly steps?: number;
  readonly quick?: true;
  readonly json?: true;
}

export function addDemo(dino: Command): void {
  dino
    .command("demo")
    .description("train on built-in images for a few minutes and compare features before and after")
    .option("--out <folder>", "folder of the run; a former run there is replaced", join("runs", "demo"))
    .option("--steps <steps>", "training steps; default: the recipe's, fewer on slow adapters", wholeNumber)
    .option("--quick", "few steps and images: tests the installation, learns nothing")
    .option("--json", "print the summary as JSON, everything else on stderr")
    .addHelpText("after", "\nExample:\n  dino demo")
    .action(async ({ out, steps, quick, json }: DemoFlags) => {
      const log = json ? printToStderr : print;
      const summary = await demo({ out, quick: quick === true, log, ...(steps && { steps }) });
      if (json) printJson(summary);
    });
}
