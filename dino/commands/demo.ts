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
    .description("train on built-in images for a few minutes and show what was learnt")
    .option("--out <folder>", "where the run is kept; what is there is replaced", join("runs", "demo"))
    .option("--steps <steps>", "length of the training, instead of that of the recipe", wholeNumber)
    .option("--quick", "a few steps and few images: shows that everything works, learns nothing")
    .option("--json", "print the summary as JSON, and the rest on stderr")
    .addHelpText("after", "\nExample:\n  dino demo")
    .action(async ({ out, steps, quick, json }: DemoFlags) => {
      const log = json ? printToStderr : print;
      const summary = await demo({ out, quick: quick === true, log, ...(steps && { steps }) });
      if (json) printJson(summary);
    });
}
