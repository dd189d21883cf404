/** `dino doctor` */
import type { Command } from "commander";
import { describe, diagnose } from "../experiments/doctor.js";
import { print, printJson } from "./output.js";

export function addDoctor(dino: Command): void {
  dino
    .command("doctor")
    .description("report which adapter training would use, why, and what would be faster")
    .option("--json", "print the findings as JSON")
    .addHelpText("after", "\nExample:\n  dino doctor")
    .action(async (options: { readonly json?: true }) => {
      const diagnosis = await diagnose();
      if (options.json) printJson(diagnosis);
      else print(describe(diagnosis));
      if ("error" in diagnosis.chosen) process.exitCode = 1;
    });
}
