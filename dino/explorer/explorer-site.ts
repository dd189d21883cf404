/** Everything that the page of an explorer can request or post, by address. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { openPage } from "../dashboard/page.js";
import type { ServedSite } from "../dashboard/server.js";
import { type Content, contentOf, type Resource, type Site } from "../dashboard/site.js";
import { encodeWebp } from "../dashboard/webp.js";
import { encodeNpy } from "../files/npy.js";
import { isFailure } from "../images/image-location.js";
import { decodeImage } from "../images/sources/decode.js";
import { dotProducts, topK } from "../math/feature-rows.js";
import type {
  ChosenRows,
  Columns,
  FileNames,
  GroupHeader,
  MapFacts,
  RowLabels,
  SearchResult,
  SimilarImage,
} from "./api.js";
import { copyFiles, DATA } from "./copy.js";
import type { Explorer } from "./explorer.js";
import { chooseToLabel, labelledRows, suggestLabels } from "./labelling.js";

/** Rows of a group of thumbnails. */
const GROUP_ROWS = 64;
/** Maximum side of a larger picture. */
const PICTURE_SIDE = 512;
/** Images that a search finds. */
const FOUND = 24;
const MOST_LABEL_BYTES = 4 << 20;

/** The site of an explorer: what a server answers, and all files of a static copy. */
export interface ExplorerSite extends ServedSite, Pick<Site, "resources"> {}

/** Opens the site of an explorer: the built pages, and its data below api/explore/. */
export async function openExplorerSite(explorer: Explorer, log: (line: string) => void): Promise<ExplorerSite> {
  const page = await openPage(log);
  const read: ServedSite["read"] = async (address) => {
    const file = page.get(address === "/" ? "/explore.html" : address);
    if (file !== undefined)
      return { ...contentOf(file, await readFile(file)), isImmutable: address.startsWith("/assets/") };
    return address.startsWith(DATA) ? readData(explorer, address.slice(DATA.length)) : undefined;
  };
  const post: ServedSite["post"] = async (address, body) => {
    switch (address) {
      case `${DATA}labels`:
        return json(await takeLabels(explorer, body));
      case `${DATA}search`:
        return json(await search(explorer, body));
      case `${DATA}choose`:
        return json((await chooseToLabel(explorer, body)) satisfies ChosenRows);
      case `${DATA}suggest`:
        return json(await suggestLabels(explorer));
      default:
        return undefined;
    }
  };
  return { read, post, resources: () => Promise.resolve(filesOfCopy(explorer, page)) };
}

/** Images up to which a static copy holds larger pictures, some 20 KB each. */
const MOST_PICTURES = 10_000;

/** Lists the files of a copy. */
function filesOfCopy(explorer: Explorer, page: ReadonlyMap<string, string>): readonly Resource[] {
  const { files } = explorer;
  const hasPictures = files.length <= MOST_PICTURES;
  const facts = json(factsOf(explorer, { isLive: false, hasPictures }));
  const groups = Math.ceil(files.length / GROUP_ROWS);
  return copyFiles({
    page,
    scripts: [
      ...["map.json", "names.json", "columns.json", "labels.json", "places.npy"],
      ...Array.from({ length: groups }, (_, group) => `groups/${group}.bin`),
    ],
    files: hasPictures ? Array.from(files, (_, row) => `pictures/${row}.webp`) : [],
    read: (name) => (name === "map.json" ? Promise.resolve(facts) : readData(explorer, name)),
  });
}

/** Reads data of the page; undefined if there is none of that name. */
async function readData(explorer: Explorer, name: string): Promise<Content | undefined> {
  const { files, columns, map } = explorer;
  switch (name) {
    case "map.json":
      return json(factsOf(explorer, { isLive: true, hasPictures: true }));
    case "names.json":
      return json(files satisfies FileNames);
    case "columns.json":
      return json(columns satisfies Columns);
    case "labels.json":
      return json(labelledRows(explorer));
    case "places.npy":
      return contentOf(name, encodeNpy({ values: map.places, shape: [files.length, 2] }));
  }
  const [, kind, number] = /^(groups|pictures|similarities)\/(\d+)\.(?:bin|webp|npy)$/.exec(name) ?? [];
  const index = Number(number);
  if (kind === "groups") {
    if (index * GROUP_ROWS >= files.length) return undefined;
    return { ...contentOf(name, await groupBytes(explorer, index)), isImmutable: true };
  }
  if (kind === undefined || index >= files.length) return undefined;
  if (kind === "similarities") return contentOf(name, similaritiesTo(explorer, rowOf(explorer, index)));
  const bytes = await pictureOf(explorer, index);
  return bytes && { ...contentOf(name, bytes), isImmutable: true };
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Describes the map. */
function factsOf({ title, data, files, map }: Explorer, kind: Pick<MapFacts, "isLive" | "hasPictures">): MapFacts {
  const content = createHash("sha256").update(JSON.stringify(files)).update(bytesOf(map.places));
  return {
    title,
    data,
    rows: files.length,
    groupRows: GROUP_ROWS,
    version: content.digest("hex").slice(0, 16),
    ...kind,
  };
}

/** Encodes a group: a header, and the thumbnails of its rows. */
async function groupBytes({ levels, map, thumbnail }: Explorer, group: number): Promise<Uint8Array> {
  const rows = Array.from(levels.order.subarray(group * GROUP_ROWS, (group + 1) * GROUP_ROWS));
  const thumbnails = await Promise.all(rows.map(thumbnail));
  const { count, neighbors, distances } = map.table;
  const neighborsOf = (row: number): readonly SimilarImage[] =>
    Array.from({ length: count }, (_, i) => {
      const distance = distances[row * count + i]!;
      return { row: neighbors[row * count + i]!, similarity: rounded(1 - distance ** 2 / 2) };
    });
  const header: GroupHeader = { sizes: thumbnails.map(({ length }) => length), neighbors: rows.map(neighborsOf) };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  return Buffer.concat([length, text, ...thumbnails]);
}

/** Encodes the image of a row as WebP, shrunk; undefined if it is gone. */
async function pictureOf({ images }: Explorer, row: number): Promise<Uint8Array | undefined> {
  const image = await images.decode(row);
  return isFailure(image) ? undefined : encodeWebp(image, { side: PICTURE_SIDE });
}

function rowOf({ features: { values, dim } }: Explorer, row: number): Float32Array {
  return values.subarray(row * dim, (row + 1) * dim);
}

function similaritiesTo({ features }: Explorer, query: Float32Array): Uint8Array {
  const values = dotProducts({ values: query, rows: 1, dim: features.dim }, features);
  return encodeNpy({ values, shape: [values.length] });
}

/** Finds the images most like an encoded one. Throws a RangeError if it is no image. */
async function search(explorer: Explorer, body: Buffer): Promise<SearchResult> {
  const { features, featuresOf, decoding } = explorer;
  const bytes = { kind: "memory", memory: body, start: 0, size: body.length } as const;
  const image = await decodeImage({ name: "the image", bytes }, decoding);
  if (isFailure(image)) throw new RangeError(`expected an image: ${image.reason}`);
  const query = await featuresOf(image);
  const similarity = dotProducts({ values: query, rows: 1, dim: features.dim }, features);
  const found = topK(similarity, Math.min(FOUND, features.rows));
  return Array.from(found, (row) => ({ row, similarity: rounded(similarity[row]!) }));
}

const labelsSchema = z
  .array(z.object({ row: z.int().nonnegative(), label: z.string().trim().min(1).max(100).nullable() }))
  .max(1_000_000);

/** Keeps labels, and returns all. Throws a RangeError for anything but labels of rows. */
async function takeLabels(explorer: Explorer, body: Buffer): Promise<RowLabels> {
  const { files, labels } = explorer;
  const changes = parseLabels(body);
  const strange = changes.find(({ row }) => row >= files.length);
  if (strange) throw new RangeError(`expected rows below ${files.length}, got ${strange.row}`);
  await labels.set(changes.map(({ row, label }) => ({ file: files[row]!, label })));
  return labelledRows(explorer);
}

function parseLabels(body: Buffer): RowLabels {
  if (body.length > MOST_LABEL_BYTES) throw new RangeError(`expected at most ${MOST_LABEL_BYTES} bytes of labels`);
  try {
    return labelsSchema.parse(JSON.parse(body.toString("utf8")));
  } catch {
    throw new RangeError('expected labels as JSON: [{"row": 0, "label": "a name, or null"}]');
  }
}

function rounded(similarity: number): number {
  return Math.round(similarity * 1e4) / 1e4;
}

function json(value: unknown): Content {
  return contentOf(".json", JSON.stringify(value));
}
