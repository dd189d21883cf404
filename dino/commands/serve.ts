/** `dino serve` */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { findRuns } from "../dashboard/runs.js";
import { openDashboard } from "../dashboard/server.js";
import { openSite } from "../dashboard/site.js";
import { expectFreeFolder, writeSite } from "../dashboard/static.js";
import { lazyProgress } from "../files/progress.js";
import { DEFAULT_PORT, port as portOf, UsageError } from "./flags.js";
import { print, printToStderr, printJson } from "./output.js";
import { openInBrowser, untilInterrupted } from "./show-page.js";

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
      "serve a dashboard of runs in a browser, during training or afterwards: curves, pictures, settings, kernels; and a " +
        "viewer that runs their networks on any image",
    )
    .argument("[out...]", "folders of runs, or folders that contain them")
    .option("--model <file...>", "additional checkpoints and model files for the viewer")
    .option(
      "--index <file.npy...>",
      "features that dino embed wrote, for the viewer's nearest neighbours; features.npy in the folder of a run is found " +
        "automatically",
    )
    .option("--port <number>", "port to serve at; 0 for any free port", portOf, DEFAULT_PORT)
    .option("--host <address>", "address to serve at; 0.0.0.0 makes the runs visible to the whole network", "127.0.0.1")
    .option("--open", "open the page in a browser")
    .option("--static <folder>", "write the pages and their data to a folder for any web host, and exit")
    .option("--overwrite", "with --static: replace an earlier export")
    .option("--json", "print address and runs, or the written files, as JSON and nothing else")
    .addHelpText(
      "after",
      "\nThe server only reads the runs. Ctrl-C stops it. The folder of --static contains the settings of the runs, including " +
        "paths, their networks, and the images of an index, reduced in size.\n\n" +
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
      if (flags.overwrite && flags.static === undefined) throw new UsageError("--overwrite: expected --static as well");
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
      await untilInterrupted();
    });
}

/** Returns the folders of the runs. Throws for a folder that neither is a run nor contains one. */
async function runsIn(roots: readonly string[]): Promise<readonly string[]> {
  const runs: string[] = [];
  for (const root of roots) {
    if (!existsSync(root)) throw new Error(`${root}: expected the folder of a run, got nothing of that name`);
    const found = [...(await findRuns([root])).values()];
    runs.push(...found);
    if (found.length === 0) {
      throw new Error(
        `${root}: expected the folder of a run, with config.json and log.jsonl, or a folder that contains runs`,
      );
    }
  }
  return runs;
}

async function writeStatic(
  options: Parameters<typeof openSite>[0],
  folder: string,
  { overwrite, json }: Pick<Flags, "overwrite" | "json">,
): Promise<void> {
  const target = { folder, flag: "--static", overwrite: overwrite === true };
  await expectFreeFolder(target);
  const site = await openSite(options);
  using reports = lazyProgress("writing");
  const { files, bytes, missing } = await writeSite(site, { ...target, onProgress: reports.report });
  if (json) {
    printJson({ folder, files, bytes, missing });
    return;
  }
  for (const address of missing) printToStderr(`left out, not readable: ${address}`);
  print(`${folder}   ${files} files, ${(bytes / 1e6).toFixed(1)} MB; copy them to any web host that offers https`);
}
