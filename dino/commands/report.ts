/** `dino report` */
import { join } from "node:path";
import type { Command } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { writeReport } from "../experiments/report.js";
import { lazyProgress } from "../files/progress.js";
import { formatMiB } from "../files/text.js";
import { print, printJson } from "./output.js";

interface ReportFlags {
  readonly data?: string;
  readonly out?: string;
  readonly json?: true;
}

export function addReport(dino: Command): void {
  dino
    .command("report")
    .description("write a page about a run, in one HTML file: curves, attention, patch features, nearest neighbours")
    .argument("<run>", "folder of the run")
    .option("--data <images>", "images to show (default: held-out images of the run, or its training images)")
    .option("--out <file.html>", "file for the page (default: report.html in the folder of the run)")
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText("after", "\nExample:\n  dino report runs/photos")
    .action(async (run: string, { data, out = join(run, "report.html"), json }: ReportFlags) => {
      using device = await openDevice();
      using progress = lazyProgress("images");
      const found = await writeReport({
        device,
        run,
        out,
        ...(data !== undefined && { data }),
        onProgress: progress.report,
      });
      if (json) {
        printJson(found);
        return;
      }
      if (found.missing !== undefined) process.stderr.write(`without pictures: ${found.missing}\n`);
      print(
        `${found.report}   ${formatMiB(found.bytes, (size) => size.toFixed(1))}, ${found.steps} steps, ${found.images} images`,
      );
    });
}
