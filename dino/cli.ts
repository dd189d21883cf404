/** The program `dino`: its commands, and how they fail. */
import { createRequire } from "node:module";
import { Command, CommanderError } from "commander";
import { addAnalyse } from "./commands/analyse.js";
import { addAttend } from "./commands/attend.js";
import { addCopies } from "./commands/copies.js";
import { addDedupe } from "./commands/dedupe.js";
import { addDemo } from "./commands/demo.js";
import { addDoctor } from "./commands/doctor.js";
import { addEmbed } from "./commands/embed.js";
import { addImport } from "./commands/import.js";
import { addKnn } from "./commands/knn.js";
import { addLinear } from "./commands/linear.js";
import { addPca } from "./commands/pca.js";
import { addReport } from "./commands/report.js";
import { addRetrieve } from "./commands/retrieve.js";
import { addSearch } from "./commands/search.js";
import { addSegment } from "./commands/segment.js";
import { addSweep } from "./commands/sweep.js";
import { addTrain } from "./commands/train.js";
import { addTune } from "./commands/tune.js";
import { addVideo } from "./commands/video.js";
import { UsageError } from "./commands/flags.js";
import { oneLine } from "./commands/output.js";

/** In the order of the help. */
const commands = [
  addTrain,
  addImport,
  addKnn,
  addLinear,
  addRetrieve,
  addCopies,
  addAttend,
  addVideo,
  addPca,
  addSegment,
  addEmbed,
  addSearch,
  addDedupe,
  addReport,
  addAnalyse,
  addSweep,
  addDoctor,
  addTune,
  addDemo,
];

/** Runs `dino` with these words; errors end as one line on stderr and in `process.exitCode`. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    const dino = program();
    if (argv.length === 0) {
      const names = dino.commands.map((command) => command.name()).join(", ");
      throw new UsageError(`expected a command: ${names}; dino --help explains them`);
    }
    await dino.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return; // help or version, already printed
    const isUsage = error instanceof CommanderError || error instanceof UsageError;
    process.exitCode = isUsage ? 2 : 1;
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`dino: ${oneLine(message)}\n`);
    if (process.env["DEBUG"] && error instanceof Error) process.stderr.write(`${error.stack ?? ""}\n`);
  }
}

/** The program, to be given words. */
export function program(): Command {
  const { version } = createRequire(import.meta.url)(packageFile()) as { readonly version: string };
  const dino = new Command("dino")
    .description("Trains Vision Transformers on unlabelled images with DINO, and shows what they learnt.")
    .version(version)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined }) // `main` prints errors, on one line
    .configureHelp({ showGlobalOptions: false })
    .helpCommand("help [command]", "show what a command does")
    .addHelpText(
      "after",
      "\nExample:\n  dino train --data photos --out runs/photos --preset vit-s16\n  dino help train",
    );
  for (const add of commands) add(dino);
  return dino;
}

/** package.json lies beside this folder in the sources, and one folder further up when compiled. */
function packageFile(): string {
  return import.meta.url.endsWith(".ts") ? "../package.json" : "../../package.json";
}
