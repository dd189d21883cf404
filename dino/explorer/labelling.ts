/** Help for labelling: which images to label, and what the labels of a few say about the others. */
import { z } from "zod";
import { namedLabels } from "../exploration/label-files.js";
import { chooseRows } from "../exploration/select-rows.js";
import { spreadLabels } from "../exploration/spread-labels.js";
import type { Suggestions } from "./api.js";
import { categories } from "./columns.js";
import type { Explorer } from "./explorer.js";

const MOST_CHOSEN = 500;
const choiceSchema = z.object({ count: z.int().min(1).max(MOST_CHOSEN) });

/** Chooses images to label, as `dino select` does, that represent those that are not labelled. Throws a RangeError for a bad request. */
export async function chooseToLabel(explorer: Explorer, body: Buffer): Promise<readonly number[]> {
  const count = parseCount(body);
  const given = labelledRows(explorer).map(({ row }) => row);
  const free = explorer.files.length - given.length;
  if (free === 0) throw new RangeError("expected images without labels, but all have one");
  using on = explorer.compare();
  const { features } = explorer;
  const chosen = await chooseRows({
    features,
    similarities: on.similarities,
    count: Math.min(count, free),
    given: Int32Array.from(given),
  });
  return Array.from(chosen);
}

function parseCount(body: Buffer): number {
  try {
    return choiceSchema.parse(JSON.parse(body.toString("utf8"))).count;
  } catch {
    throw new RangeError(`expected a number of images from 1 to ${MOST_CHOSEN} as JSON: {"count": 20}`);
  }
}

/** Labels all images by those of a few, as `dino classify` does. Throws a RangeError unless there are two different labels. */
export async function suggestLabels(explorer: Explorer): Promise<Suggestions> {
  const { features, files } = explorer;
  const entries = labelledRows(explorer).map(({ row, label }) => [files[row]!, label] as const);
  const given = namedLabels("labels", entries, files);
  const { names } = given;
  if (names.length < 2) throw new RangeError(`expected images of two labels or more, got ${names.length}`);
  const { labels, confidence, accuracy } = await spreadLabels({ features, given });
  const shares = Array.from(confidence, (value) => Number(value.toFixed(3)));
  return {
    columns: [
      categories(
        "suggested label",
        Array.from(labels, (label) => names[label]!),
      ),
      { kind: "numbers", name: "confidence", numbers: shares },
    ],
    accuracy,
  };
}

/** Lists the labels that the visitor gave, by row. */
export function labelledRows({ files, labels }: Explorer): readonly { readonly row: number; readonly label: string }[] {
  const all = labels.all();
  return [...files.entries()].flatMap(([row, file]) => (all.has(file) ? [{ row, label: all.get(file)! }] : []));
}
