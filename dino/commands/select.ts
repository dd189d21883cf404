/** `dino select` */
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { type Command, Option } from "commander";
import { rowFinder } from "../exploration/label-files.js";
import { type ChoiceOptions, chooseRows, CHOICES } from "../exploration/select-rows.js";
import { parseCsv } from "../files/csv.js";
import { makeFolder, writeFileAtomically } from "../files/files.js";
import { joinNames } from "../files/text.js";
import { addExploringOptions, type ExploringFlags, explore } from "./exploring.js";
import { count } from "./flags.js";
import { print, printJson } from "./output.js";

interface SelectFlags extends ExploringFlags {
  readonly count: number;
  readonly by: NonNullable<ChoiceOptions["by"]>;
  readonly given?: string;
  readonly out?: string;
}

export function addSelect(dino: Command): void {
  addExploringOptions(dino.command("select"))
    .description("choose images that represent a set, to label or to look at")
    .requiredOption("-n, --count <images>", "number of images to choose", count)
    .addOption(
      new Option(
        "--by <choice>",
        "`cover` takes images that are similar to many others; `farthest` takes images that are far from those before, often outliers",
      )
        .choices(CHOICES)
        .default("cover"),
    )
    .option("--given <file>", "images that are labelled already and count as chosen: one per line, or a .csv file")
    .option("--out <file.txt>", "write the images, one per line")
    .addHelpText(
      "after",
      "\nThe images come in the order of their use: any first part of the list is a good choice, too. The same images give the\n" +
        "same choice. dino classify labels the others.\n\nExamples:\n" +
        "  dino select --checkpoint runs/photos/checkpoint.safetensors --data photos -n 50 --out label-these.txt\n" +
        "  dino select --features photos.npy -n 50 --given labels.csv",
    )
    .action(async (flags: SelectFlags) => {
      await explore(flags, async (explored) => {
        const { features, files, comparing } = explored;
        const given = flags.given === undefined ? [] : await readGiven(flags.given, files);
        const rows = await chooseRows({ ...comparing, count: flags.count, by: flags.by, given });
        const chosen = Array.from(rows, (row) => files[row]!);
        if (flags.out !== undefined) {
          await makeFolder(dirname(flags.out));
          await writeFileAtomically(flags.out, chosen.map((file) => `${file}\n`).join(""));
        }
        if (flags.json) {
          const { failures } = explored.list;
          printJson({ images: features.rows, by: flags.by, given: given.length, chosen, failures });
          return;
        }
        print(...chosen);
      });
    });
}

/** Reads the images that are labelled already, the first field of each row. Throws for unknown ones. */
async function readGiven(path: string, files: readonly string[]): Promise<readonly number[]> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  });
  const rowOf = rowFinder(files);
  const isTable = path.toLowerCase().endsWith(".csv");
  const names = isTable
    ? parseCsv(text).map(([name]) => name!.trim())
    : text.split(/\r?\n/).filter((line) => line !== "");
  const unknown = names.filter((name, i) => rowOf(name) === undefined && !(i === 0 && isTable && name === "file"));
  if (unknown.length > 0) {
    throw new Error(
      `${path}: expected images of the set, which have names like ${files[0] ?? "none"}, got ${joinNames(unknown)}`,
    );
  }
  return [...new Set(names.map(rowOf).filter((row) => row !== undefined))];
}
