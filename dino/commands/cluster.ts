/** `dino cluster` */
import type { Command } from "commander";
import { densityGroups } from "../exploration/density-groups.js";
import { describeGroups, type Grouping, groupNames } from "../exploration/groups.js";
import { kMeans } from "../exploration/k-means.js";
import { addExploringOptions, type Explored, type ExploringFlags, imagePaths, explore } from "./exploring.js";
import { count, wholeNumber } from "./flags.js";
import { print, printJson } from "./output.js";
import {
  addSortedOptions,
  checkOutputs,
  type SortedFlags,
  writeFolders,
  writeLists,
  writeTable,
} from "./sorted-images.js";

interface ClusterFlags extends ExploringFlags, SortedFlags {
  readonly groups?: number;
  readonly minSize: number;
  readonly seed: number;
}

export function addCluster(dino: Command): void {
  addSortedOptions(addExploringOptions(dino.command("cluster")), "group")
    .description("find groups of similar images")
    .option(
      "--groups <number>",
      "number of groups, by k-means; without it, dense groups are found, and images between them are noise",
      count,
    )
    .option(
      "--min-size <images>",
      "smallest dense group, without --groups; raise it for fewer groups, lower it if most images are noise",
      count,
      10,
    )
    .option("--seed <number>", "seed of the starts of k-means", wholeNumber, 0)
    .addHelpText(
      "after",
      "\nA group is named by its number and its most typical image, the one closest to its mean; tightness is the mean cosine\n" +
        "of its images with the mean. k-means puts each image into a group; try several numbers. Dense groups need features that\n" +
        "separate the images well.\n\nExamples:\n" +
        "  dino cluster --checkpoint runs/photos/checkpoint.safetensors --data photos --groups 20 --out groups\n" +
        "  dino cluster --features photos.npy --min-size 20 --csv groups.csv",
    )
    .action(async (flags: ClusterFlags) => {
      await checkOutputs(flags);
      await explore(flags, async (explored) => {
        const { features, files, comparing } = explored;
        const { groups, minSize, seed } = flags;
        const labels =
          groups === undefined
            ? await densityGroups({ ...comparing, minSize })
            : (await kMeans({ ...comparing, groups, seed })).labels;
        const grouping = describeGroups(features, labels);
        const named = withNames(grouping, files);
        await writeOutputs(flags, explored, named);
        if (flags.json) {
          printJson({
            images: features.rows,
            groups: named.groups,
            noise: named.noise,
            failures: explored.list.failures,
          });
          return;
        }
        print(...describe(named, features.rows));
      });
    });
}

function withNames(grouping: Grouping, files: readonly string[]) {
  const names = groupNames(grouping, files);
  return {
    groups: grouping.groups.map(({ rows, similarities, tightness }, i) => ({
      name: names[i]!,
      images: rows.length,
      tightness,
      typical: rows.slice(0, 3).map((row) => files[row]!),
      members: rows.map((row, place) => ({ row, file: files[row]!, similarity: similarities[place]! })),
    })),
    noise: grouping.noise.map((row) => ({ row, file: files[row]! })),
  };
}

type Named = ReturnType<typeof withNames>;

async function writeOutputs(flags: ClusterFlags, explored: Explored, { groups, noise }: Named): Promise<void> {
  const { csv, out, lists } = flags;
  const sorted = [...groups, ...(noise.length > 0 ? [{ name: "noise", members: noise }] : [])];
  const placed = async (flag: string) => {
    const paths = await imagePaths(explored, flags, flag);
    return sorted.map(({ name, members }) => ({
      name,
      images: members.map(({ row, file }) => ({ file, path: paths[row]! })),
    }));
  };
  if (out !== undefined) await writeFolders(out, await placed("--out"));
  if (lists !== undefined) await writeLists(lists, await placed("--lists"));
  if (csv === undefined) return;
  const rows = groups.flatMap(({ name, members }) =>
    members.map(({ file, similarity }) => [file, name, similarity.toFixed(4)]),
  );
  await writeTable(csv, [["file", "group", "similarity"], ...rows, ...noise.map(({ file }) => [file, "noise", ""])]);
}

function describe({ groups, noise }: Named, images: number): string[] {
  const width = Math.max(4, ...groups.map(({ name }) => name.length));
  return [
    `${groups.length} ${groups.length === 1 ? "group" : "groups"} of ${images} images${noise.length > 0 ? `, ${noise.length} in none (noise)` : ""}`,
    ...(groups.length > 0 ? ["", `${"group".padEnd(width)}   images   tightness   most typical`] : []),
    ...groups.map(
      ({ name, images: own, tightness, typical }) =>
        `${name.padEnd(width)}   ${`${own}`.padStart(6)}   ${tightness.toFixed(4).padStart(9)}   ${typical.join(", ")}`,
    ),
    ...(groups.length === 0 ? ["lower --min-size, or take k-means with --groups"] : []),
  ];
}
