/** `dino explore` */
import { basename, join, resolve } from "node:path";
import type { Command } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { readingOf } from "../config/derive.js";
import { serveSite } from "../dashboard/server.js";
import { expectFreeFolder, writeSite, type Written } from "../dashboard/static.js";
import { runWithin, trainedNetwork } from "../experiments/trained-network.js";
import { openExplorerSite } from "../explorer/explorer-site.js";
import { openExplorer } from "../explorer/explorer.js";
import { lazyProgress } from "../files/progress.js";
import { openSubset } from "../images/sources/open-splits.js";
import { lockFolder } from "../run/run-folder.js";
import { loadModel } from "../weights/load-model.js";
import { DEFAULT_PORT, port, UsageError, wholeNumber } from "./flags.js";
import { print, printJson, printToStderr, reportFailures } from "./output.js";
import { addReadingFlags, type ReadingFlags, readingWith, settingsOfReading } from "./reading-flags.js";
import { openInBrowser, untilInterrupted } from "./show-page.js";

interface ExploreFlags extends ReadingFlags {
  readonly checkpoint?: string;
  readonly out?: string;
  readonly columns?: string;
  readonly batch: number;
  readonly seed: number;
  readonly port: number;
  readonly open: boolean;
  readonly export?: string;
  readonly overwrite?: true;
  readonly json?: true;
}

/** The folder that runs and results lie in. */
const RUNS = "runs";

export function addExplore(dino: Command): void {
  addReadingFlags(dino.command("explore"))
    .description(
      "show all images of a folder on a map in the browser, similar ones side by side; search and label them",
    )
    .argument("<images>", "a folder of images, or anything else that --data of dino train takes")
    .option(
      "--checkpoint <file>",
      "network to use; by default that of the newest finished run on these images in runs/, else one is trained now",
    )
    .option("--out <folder>", "folder of features, thumbnails, map and labels (default: runs/explore-NAME)")
    .option(
      "--columns <file.csv>",
      "more columns to colour by: a line of titles, then a line for each image with its name in the first column",
    )
    .option("--batch <images>", "images per forward pass; lower if memory runs out", wholeNumber, 64)
    .option("--seed <number>", "another seed gives another map of the same features", wholeNumber, 0)
    .option("--port <number>", "port to serve at; 0 for any free port", port, DEFAULT_PORT)
    .option("--no-open", "do not open the page in a browser")
    .option(
      "--export <folder>",
      "write the map to a folder, whose index.html opens offline and on any web host, and exit; with larger pictures of up to 10,000 images",
    )
    .option("--overwrite", "with --export: replace an earlier export")
    .option("--json", "print address and folder, or the written files, as JSON and nothing else")
    .addHelpText(
      "after",
      "\nFeatures, thumbnails and map are kept in --out: the next start is quick, and of a changed folder only what changed is made\n" +
        "again. Thumbnails take at most 4 KiB an image, and half of it as a rule. Ctrl-C stops the server.\n\nExamples:\n" +
        "  dino explore photos\n" +
        "  dino explore photos --checkpoint vit-s14.safetensors --columns photos.csv\n" +
        "  dino explore photos --export map",
    )
    .action(explore);
}

async function explore(data: string, flags: ExploreFlags): Promise<void> {
  const { out = join(RUNS, `explore-${basename(resolve(data))}`), batch, seed, columns } = flags;
  if (flags.overwrite && flags.export === undefined) throw new UsageError("--overwrite: expected --export as well");
  const copy = flags.export !== undefined && {
    folder: flags.export,
    flag: "--export",
    overwrite: flags.overwrite === true,
  };
  if (copy) await expectFreeFolder(copy);
  await openSubset(data, readingWith(flags)); // throws before anything is made
  await using results = await lockFolder(out, "exploring");
  using device = await openDevice();
  const checkpoint =
    flags.checkpoint ??
    (await trainedNetwork({
      ...{ data, roots: [RUNS], out: runWithin(out), device, log: printToStderr },
      settings: settingsOfReading(flags),
    }));
  using model = await loadModel(device, checkpoint);
  const { images } = await openSubset(data, readingWith(flags, readingOf(model.config)));
  const explorer = await openExplorer({
    folder: results.folder,
    data,
    images,
    checkpoint,
    model,
    batch,
    seed,
    columns,
    log: printToStderr,
  });
  reportFailures(explorer.failures);
  const site = await openExplorerSite(explorer, printToStderr);
  if (copy) {
    using writing = lazyProgress("writing");
    const written = await writeSite(site, { ...copy, onProgress: writing.report });
    if (flags.json) printJson({ folder: copy.folder, ...written });
    else print(describeExport(copy.folder, written));
    return;
  }
  await using server = await serveSite(site, { host: "127.0.0.1", port: flags.port });
  const { address } = server;
  if (flags.json) printJson({ address, out, images: explorer.files.length, checkpoint });
  else print(address);
  if (flags.open) await openInBrowser(address);
  await untilInterrupted();
}

function describeExport(folder: string, { files, bytes }: Written): string {
  return `${folder}   ${files} files, ${(bytes / 1e6).toFixed(1)} MB; open ${join(folder, "index.html")} in a browser, or copy the folder to any web host`;
}
