/** `dino audit` */
import { type Command, Option } from "commander";
import { doubtfulLabels } from "../exploration/doubtful-labels.js";
import { VOTING, type VotingOptions } from "../exploration/spread-labels.js";
import { addExploringOptions, type ExploringFlags, labelsOf, explore } from "./exploring.js";
import { count } from "./flags.js";
import { print, printJson } from "./output.js";
import { writeTable } from "./sorted-images.js";

export interface VotingFlags {
  readonly by: NonNullable<VotingOptions["voting"]>;
  readonly neighbors: number;
}

/** Adds the flags of how labelled images vote. */
export function addVotingOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--by <voting>", "how labelled images vote: a linear classifier, or the nearest neighbours")
        .choices(VOTING)
        .default("linear"),
    )
    .option("-k, --neighbors <images>", "nearest labelled images that vote with --by knn", count, 10);
}

interface AuditFlags extends ExploringFlags, VotingFlags {
  readonly labels?: string;
  readonly show: number;
  readonly csv?: string;
}

export function addAudit(dino: Command): void {
  addVotingOptions(addExploringOptions(dino.command("audit")))
    .description("list the images whose label is doubtful, since similar images have another")
    .option(
      "--labels <file>",
      "labels: a .csv file of file and label, a .json file, or a folder with a subfolder per class (default: the classes of the images)",
    )
    .option("--show <images>", "images to print, the most doubtful first", count, 20)
    .option("--csv <file.csv>", "write a table of all images whose votes contradict their label")
    .addHelpText(
      "after",
      "\nEach image is classified by all others; its label is doubtful if another class gets more votes, and likely wrong if that\n" +
        "class gets as many as its own images do on average. Look at the images before you change labels: rare views of a class\n" +
        "are listed, too.\n\nExamples:\n" +
        "  dino audit --checkpoint runs/photos/checkpoint.safetensors --data photos\n" +
        "  dino audit --features photos.npy --labels labels.csv --csv doubtful.csv",
    )
    .action(async (flags: AuditFlags) => {
      await explore(flags, async (explored) => {
        const given = await labelsOf(explored, flags.labels);
        const doubts = await doubtfulLabels({
          ...explored.comparing,
          given,
          voting: flags.by,
          k: flags.neighbors,
        });
        const found = doubts.map(({ row, label, suggested, ...rest }) => ({
          file: explored.files[row]!,
          label: given.names[label]!,
          suggested: given.names[suggested]!,
          ...rest,
        }));
        if (flags.csv !== undefined) {
          await writeTable(flags.csv, [
            ["file", "label", "suggested", "confidence", "likely"],
            ...found.map(({ file, label, suggested, confidence, isLikely }) => [
              file,
              label,
              suggested,
              confidence.toFixed(4),
              isLikely ? "yes" : "no",
            ]),
          ]);
        }
        const likely = found.filter(({ isLikely }) => isLikely).length;
        if (flags.json) {
          const { failures } = explored.list;
          printJson({
            images: given.rows.length,
            classes: given.classes,
            by: flags.by,
            likely,
            doubtful: found,
            failures,
          });
          return;
        }
        print(
          `${found.length} of ${given.rows.length} labels are doubtful, ${likely} of them likely wrong`,
          ...found
            .slice(0, flags.show)
            .map(
              ({ file, label, suggested, confidence, isLikely }) =>
                `${confidence.toFixed(2).padStart(6)}   ${isLikely ? "likely" : "      "}   ${label} -> ${suggested}   ${file}`,
            ),
        );
      });
    });
}
