/** `dino serve` */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { findRuns } from "../dashboard/runs.js";
import { openDashboard } from "../dashboard/server.js";
import { openSite } from "../dashboard/site.js";
import { expectFreeFolder, writeSite } from "../dashboard/static.js";
import { takeReports } from "../files/progress.js";
import { catchSignals } from "../training/interrupt.js";
import { DEFAULT_PORT, port as portOf, UsageError } from "./flags.js";
import { print, printToStderr, printJson } from "./output.js";

interface Flags {
  readonly port: number;
  readonly host: string;
  readonly open?: true;
  readonly model?: readonly string[];
  readonly index?: readonly string[];
  readonly static?: string;
  readonly overwrite?: true;
  readonly json?: true;
}

export function addServe(dino: Command): void {
  dino
    .command("serve")
    .description(
      "show runs in a browser while they train, or afterwards: curves, pictures, settings, kernels; and a viewer that looks " +
        "at any image with their networks",
    )
    .argument("[out...]", "folders of runs, and folders that hold some")
    .option("--model <file...>", "checkpoints and model files for the viewer, besides those of the runs")
    .option(
      "--index <file.npy...>",
      "features that dino embed wrote, whose images the viewer finds neighbours in; features.npy in the folder of a run is " +
        "found by itself",
    )
    .option("--port <number>", "port to serve at; 0 for any that is free", portOf, DEFAULT_PORT)
    .option("--host <address>", "address to serve at; 0.0.0.0 shows the runs to the whole network", "127.0.0.1")
    .option("--open", "open the page in this machine's browser")
    .option("--static <folder>", "write the pages with all they show into a folder, for any web host, and end")
    .option("--overwrite", "with --static: replace an earlier export")
    .option("--json", "print where it serves, and which runs, or what was written, as JSON and nothing else")
    .addHelpText(
      "after",
      "\nIt only reads the runs. Ctrl-C ends it. What --static writes shows everybody the settings of the runs, paths included, " +
        "their networks, and small pictures of the images of an index.\n\n" +
        "Examples:\n" +
        "  dino serve runs\n" +
        "  dino serve runs/photos --index photos.npy --open\n" +
        "  dino serve runs/photos --static site",
    )
    .action(async (roots: readonly string[], flags: Flags) => {
      const { port, host, json, model: models = [], index: indexes = [] } = flags;
      if (roots.length + models.length + indexes.length === 0) {
        throw new UsageError("expected folders of runs, --model or --index; `dino demo` makes a run in runs/demo");
      }
      if (flags.overwrite && flags.static === undefined) throw new UsageError("--overwrite: it goes with --static");
      const runs = await runsIn(roots);
      const site = { roots, models, indexes, log: printToStderr };
      if (flags.static !== undefined) {
        await writeStatic(site, flags.static, flags);
        return;
      }
      await using dashboard = await openDashboard({ ...site, host, port });
      if (json) printJson({ address: dashboard.address, runs });
      else print(dashboard.address);
      if (flags.open) await openInBrowser(dashboard.address);
      using interruption = catchSignals(() => undefined);
      await new Promise((resolve) => interruption.asked.addEventListener("abort", resolve));
    });
}

/** The folders of runs. Throws for a folder that neither is one nor holds any. */
async function runsIn(roots: readonly string[]): Promise<readonly string[]> {
  const runs: string[] = [];
  for (const root of roots) {
    if (!existsSync(root)) throw new Error(`${root}: expected the folder of a run, got nothing of that name`);
    const found = [...(await findRuns([root])).values()];
    runs.push(...found);
    if (found.length === 0) {
      throw new Error(`${root}: expected the folder of a run, with config.json and log.jsonl, or one that holds some`);
    }
  }
  return runs;
}

async function writeStatic(
  options: Parameters<typeof openSite>[0],
  folder: string,
  { overwrite, json }: Pick<Flags, "overwrite" | "json">,
): Promise<void> {
  const place = { folder, overwrite: overwrite === true };
  await expectFreeFolder(place);
  const site = await openSite(options);
  using reports = takeReports("writing");
  const { files, bytes, missing } = await writeSite(site, { ...place, onProgress: reports.report });
  if (json) {
    printJson({ folder, files, bytes, missing });
    return;
  }
  for (const address of missing) printToStderr(`left out, since it cannot be read: ${address}`);
  print(`${folder}   ${files} files, ${(bytes / 1e6).toFixed(1)} MB; put them on any web host that offers https`);
}

/** Says what to do by hand where there is no browser. */
async function openInBrowser(address: string): Promise<void> {
  const { default: open } = await import("open");
  const byHand = () => printToStderr(`no browser could be opened; open ${address} in one`);
  try {
    const child = await open(address);
    child.once("error", byHand).once("exit", (code) => {
      if (code) byHand();
    });
  } catch {
    byHand();
  }
}
