/** The data of the page: from the server of `dino explore`, or beside a copy. */
import type {
  ChosenRows,
  Columns,
  FileNames,
  GroupHeader,
  MapFacts,
  RowLabels,
  SearchResult,
  SimilarImage,
  Suggestions,
} from "../../explorer/api.js";
import { parseNpy } from "../../files/npy.js";
import { isCopy, readCopied } from "./copied-data.js";

/** Everything that is read at the start. */
export interface MapData {
  readonly facts: MapFacts;
  readonly files: FileNames;
  /** [rows, 2]. */
  readonly places: Float32Array;
  readonly columns: Columns;
  readonly labels: RowLabels;
}

/** A group of thumbnails, in the order of the levels. */
export interface Group {
  readonly thumbnails: readonly Blob[];
  readonly neighbors: readonly (readonly SimilarImage[])[];
}

const ADDRESS = "api/explore/";

export async function readMapData(): Promise<MapData> {
  const [facts, files, columns, labels, places] = await Promise.all([
    json<MapFacts>("map.json"),
    json<FileNames>("names.json"),
    json<Columns>("columns.json"),
    json<RowLabels>("labels.json"),
    numbers("places.npy"),
  ]);
  return { facts, files, columns, labels, places };
}

/** Reads a group of thumbnails. */
export async function readGroup(group: number, version: string): Promise<Group> {
  const bytes = await (await request(`groups/${group}.bin?version=${version}`)).arrayBuffer();
  const start = 4 + new DataView(bytes).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, start - 4))) as GroupHeader;
  let at = start;
  const thumbnails = header.sizes.map((size) => new Blob([bytes.slice(at, (at += size))], { type: "image/webp" }));
  return { thumbnails, neighbors: header.neighbors };
}

/** Reads the similarities of all images to one. */
export function readSimilarities(row: number): Promise<Float32Array> {
  return numbers(`similarities/${row}.npy`);
}

/** Returns the address of the larger picture of a row. */
export function pictureAddress(row: number, version: string): string {
  return `${ADDRESS}pictures/${row}.webp?version=${version}`;
}

/** Finds the images most like a file. */
export function search(file: Blob): Promise<SearchResult> {
  return json("search", { method: "POST", body: file });
}

/** Chooses images that are worth labelling. */
export function chooseRows(count: number): Promise<ChosenRows> {
  return json("choose", { method: "POST", body: JSON.stringify({ count }) });
}

/** Suggests labels for all images by those that are labelled. */
export function suggestLabels(): Promise<Suggestions> {
  return json("suggest", { method: "POST" });
}

/** Keeps labels, null to take one away; returns all. */
export function keepLabels(labels: RowLabels): Promise<RowLabels> {
  return json("labels", { method: "POST", body: JSON.stringify(labels) });
}

async function json<T>(name: string, options?: RequestInit): Promise<T> {
  return (await (await request(name, options)).json()) as T;
}

async function numbers(name: string): Promise<Float32Array> {
  return parseNpy(new Uint8Array(await (await request(name)).arrayBuffer())).values as Float32Array;
}

/** Asks the server. Throws, for visitors, if it does not answer or refuses. */
async function request(name: string, options?: RequestInit): Promise<Response> {
  if (isCopy()) return new Response(await readCopied(ADDRESS, name));
  const response = await fetch(ADDRESS + name, options).catch(() => undefined);
  if (response === undefined) throw new Error("The server does not answer; is `dino explore` still running?");
  if (response.status === 404 && name === "map.json")
    throw new Error("No map is here: `npx dino explore FOLDER` makes one");
  if (!response.ok) throw new Error(`${name.split("?")[0]!}: ${(await response.text()).trim()}`);
  return response;
}
