/** The program `dino`: its commands and its exit codes. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { Command, CommanderError } from "commander";
import { HungDeviceError, isCausedBy } from "../engine/index.js";
import { reportError } from "./commands/failure.js";
import { UsageError } from "./commands/flags.js";

type Load = () => Promise<(dino: Command) => void>;

/**
 * Commands in the order of the help; each is loaded on demand, since the dependencies of some take a second to load.
 */
const groups: Readonly<Record<string, Readonly<Record<string, Load>>>> = {
  "Training:": {
    train: async () => (await import("./commands/train.js")).addTrain,
    crops: async () => (await import("./commands/crops.js")).addCrops,
    sweep: async () => (await import("./commands/sweep.js")).addSweep,
    analyse: async () => (await import("./commands/analyse.js")).addAnalyse,
    demo: async () => (await import("./commands/demo.js")).addDemo,
  },
  "Datasets:": {
    stats: async () => (await import("./commands/stats.js")).addStats,
  },
  "Weights:": {
    import: async () => (await import("./commands/import.js")).addImport,
    export: async () => (await import("./commands/export.js")).addExport,
  },
  "Evaluation:": {
    knn: async () => (await import("./commands/knn.js")).addKnn,
    linear: async () => (await import("./commands/linear.js")).addLinear,
    segment: async () => (await import("./commands/segment.js")).addSegment,
    retrieve: async () => (await import("./commands/retrieve.js")).addRetrieve,
    copies: async () => (await import("./commands/copies.js")).addCopies,
  },
  "Pictures and pages:": {
    attend: async () => (await import("./commands/attend.js")).addAttend,
    video: async () => (await import("./commands/video.js")).addVideo,
    pca: async () => (await import("./commands/pca.js")).addPca,
    report: async () => (await import("./commands/report.js")).addReport,
    serve: async () => (await import("./commands/serve.js")).addServe,
  },
  "Search and features:": {
    explore: async () => (await import("./commands/explore.js")).addExplore,
    embed: async () => (await import("./commands/embed.js")).addEmbed,
    search: async () => (await import("./commands/search.js")).addSearch,
    dedupe: async () => (await import("./commands/dedupe.js")).addDedupe,
  },
  "Groups and labels:": {
    cluster: async () => (await import("./commands/cluster.js")).addCluster,
    outliers: async () => (await import("./commands/outliers.js")).addOutliers,
    audit: async () => (await import("./commands/audit.js")).addAudit,
    select: async () => (await import("./commands/select.js")).addSelect,
    classify: async () => (await import("./commands/classify.js")).addClassify,
  },
  "This machine:": {
    doctor: async () => (await import("./commands/doctor.js")).addDoctor,
    tune: async () => (await import("./commands/tune.js")).addTune,
  },
};

/** Runs `dino` with these arguments; errors become one line on stderr and `process.exitCode`. */
export async function main(words: readonly string[]): Promise<void> {
  exitOnClosedPipe();
  const argv = words.map(withDashes);
  try {
    const dino = await program(argv[0]);
    if (argv.length === 0) {
      const names = dino.commands.map((command) => command.name()).join(", ");
      throw new UsageError(`expected a command: ${names}; dino --help explains them`);
    }
    await dino.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return; // help or version, already printed
    process.exitCode = reportError(isUnquotedPattern(error, argv) ? new UsageError(quotePatterns) : error);
    if (isCausedBy(error, HungDeviceError)) process.exit(); // pending GPU work may never finish
  }
}

/** Whether a file follows another argument where one was expected, as if the shell had replaced a pattern by its files. */
function isUnquotedPattern(error: unknown, argv: readonly string[]): boolean {
  const isExcess = error instanceof CommanderError && error.code === "commander.excessArguments";
  return isExcess && argv.some((word, i) => i > 1 && !argv[i - 1]!.startsWith("-") && existsSync(word));
}

const quotePatterns =
  "expected one file, got several; quote patterns, or the shell replaces them by names of files: --data 'shards/*.tar'";

/** Reads `_` in a flag as `-`: the official code spells its flags with both. */
function withDashes(word: string): string {
  return word.startsWith("--") ? word.replace(/^[^=]+/, (flag) => flag.replaceAll("_", "-")) : word;
}

/** Exits when the reader of stdout has closed the pipe, as `| head` does; ignores a closed stderr. */
function exitOnClosedPipe(): void {
  process.stdout.once("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit();
    throw error;
  });
  process.stderr.on("error", () => undefined);
}

/** Returns the parser with the command named by `first`, or with all commands if there is no such command. */
export async function program(first?: string): Promise<Command> {
  const { version } = createRequire(import.meta.url)(packageFile()) as { readonly version: string };
  const dino = new Command("dino")
    .description(
      "Trains Vision Transformers on unlabelled images with DINO, and evaluates and visualises their features.",
    )
    .version(version)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined }) // `main` prints errors, on one line
    .configureHelp({ showGlobalOptions: false })
    .helpCommand("help [command]", "show what a command does")
    .addHelpText(
      "after",
      "\nExample:\n  dino train --data photos --out runs/photos --preset vit-s16\n  dino help train",
    );
  const isCommand = Object.values(groups).some((commands) => first !== undefined && Object.hasOwn(commands, first));
  for (const [group, commands] of Object.entries(groups)) {
    dino.commandsGroup(group);
    for (const [name, load] of Object.entries(commands)) if (!isCommand || name === first) (await load())(dino);
  }
  return dino;
}

/** Path of package.json: one folder up in a checkout, two in the compiled package. */
function packageFile(): string {
  return import.meta.url.endsWith(".ts") ? "../package.json" : "../../package.json";
}
