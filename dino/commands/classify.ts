/** `dino classify` */
import { dirname } from "node:path";
import type { Command } from "commander";
import type { NamedLabels } from "../exploration/label-files.js";
import { type Spread, spreadLabels } from "../exploration/spread-labels.js";
import { makeFolder, writeJson } from "../files/files.js";
import { addVotingOptions, type VotingFlags } from "./audit.js";
import { addExploringOptions, type Explored, type ExploringFlags, imagePaths, labelsOf, explore } from "./exploring.js";
import { probability } from "./flags.js";
import { print, printJson } from "./output.js";
import {
  addSortedOptions,
  checkOutputs,
  type SortedFlags,
  writeFolders,
  writeLists,
  writeTable,
} from "./sorted-images.js";

interface ClassifyFlags extends ExploringFlags, VotingFlags, SortedFlags {
  readonly labels: string;
  readonly minConfidence: number;
  readonly coco?: string;
}

export function addClassify(dino: Command): void {
  addSortedOptions(addVotingOptions(addExploringOptions(dino.command("classify"))), "class")
    .description("label all images by a few labelled ones")
    .requiredOption(
      "--labels <file>",
      "labels of some of the images: a .csv file of file and label, a .json file, or a folder with a subfolder per class",
    )
    .option(
      "--min-confidence <share>",
      "leave images out of the folders and lists of the classes below this confidence, 0 to 1; they come under `unsure`",
      probability,
      0,
    )
    .option("--coco <file.json>", "write images, categories and an annotation per image in the format of COCO")
    .addHelpText(
      "after",
      "\nThe printed accuracy is of the labelled images, each classified by the others (leave-one-out); with few labels it is a\n" +
        "rough estimate. dino select chooses the images to label first.\n\nExamples:\n" +
        "  dino classify --checkpoint runs/photos/checkpoint.safetensors --data photos --labels labels.csv --csv all.csv\n" +
        "  dino classify --features photos.npy --labels sorted --out classes --min-confidence 0.8",
    )
    .action(async (flags: ClassifyFlags) => {
      await checkOutputs(flags);
      await explore(flags, async (explored) => {
        const given = await labelsOf(explored, flags.labels);
        const spread = await spreadLabels({ ...explored.comparing, given, voting: flags.by, k: flags.neighbors });
        const labelled = withNames(explored, given, spread);
        await writeOutputs(flags, explored, { labelled, names: given.names });
        const { accuracy } = spread;
        if (flags.json) {
          const { failures } = explored.list;
          printJson({
            by: flags.by,
            given: given.rows.length,
            accuracy,
            classes: given.names,
            images: labelled,
            failures,
          });
          return;
        }
        print(...describe(labelled, given, accuracy));
      });
    });
}

function withNames({ files }: Explored, given: NamedLabels, { labels, confidence }: Spread) {
  const isGiven = new Set(given.rows);
  return files.map((file, row) => ({
    file,
    label: given.names[labels[row]!]!,
    confidence: confidence[row]!,
    given: isGiven.has(row),
  }));
}

type Labelled = ReturnType<typeof withNames>;

async function writeOutputs(
  flags: ClassifyFlags,
  explored: Explored,
  { labelled, names }: { readonly labelled: Labelled; readonly names: readonly string[] },
): Promise<void> {
  const { csv, out, lists, coco, minConfidence } = flags;
  const placed = async (flag: string) => {
    const paths = await imagePaths(explored, flags, flag);
    const groupOf = ({ label, confidence }: Labelled[number]): string =>
      confidence < minConfidence ? "unsure" : label;
    const groups = [...names, ...(names.includes("unsure") ? [] : ["unsure"])].map((name) => ({
      name,
      images: labelled.flatMap((image, row) =>
        groupOf(image) === name ? [{ file: image.file, path: paths[row]! }] : [],
      ),
    }));
    return groups.filter(({ images }) => images.length > 0);
  };
  if (out !== undefined) await writeFolders(out, await placed("--out"));
  if (lists !== undefined) await writeLists(lists, await placed("--lists"));
  if (csv !== undefined) {
    const rows = labelled.map(({ file, label, confidence, given }) => [
      file,
      label,
      confidence.toFixed(4),
      given ? "yes" : "no",
    ]);
    await writeTable(csv, [["file", "label", "confidence", "given"], ...rows]);
  }
  if (coco !== undefined) {
    await makeFolder(dirname(coco));
    await writeJson(coco, {
      images: labelled.map(({ file }, i) => ({ id: i + 1, file_name: file })),
      categories: names.map((name, i) => ({ id: i + 1, name })),
      annotations: labelled.map(({ label, confidence }, i) => ({
        id: i + 1,
        image_id: i + 1,
        category_id: names.indexOf(label) + 1,
        score: confidence,
      })),
    });
  }
}

function describe(labelled: Labelled, { names, rows }: NamedLabels, accuracy: number): string[] {
  const width = Math.max(5, ...names.map((name) => name.length));
  return [
    `${labelled.length} images by ${rows.length} labels of ${names.length} classes; accuracy on these, leave-one-out: ${(100 * accuracy).toFixed(1)} %`,
    "",
    `${"class".padEnd(width)}   images   mean confidence`,
    ...names.map((name) => {
      const own = labelled.filter(({ label }) => label === name);
      const mean = own.reduce((sum, { confidence }) => sum + confidence, 0) / own.length;
      return `${name.padEnd(width)}   ${`${own.length}`.padStart(6)}   ${mean.toFixed(2).padStart(15)}`;
    }),
  ];
}
