/** Models for the viewer, with the images of their indexes. */
import type { IndexedNames, ModelList, ModelState } from "../../dashboard/api.js";
import { heldOutBuiltin } from "../../images/builtin.js";
import { isFailure } from "../../images/image-location.js";
import type { Image } from "../../images/pixels.js";
import { firstOfEachClass, fullSubset } from "../../images/split.js";
import { addressOf } from "../shell/address.js";
import { type StoredModel, storedModel } from "../shell/kept-model.js";
import type { InputImage } from "./input-image.js";

/** A model that the visitor can choose. */
export interface CatalogEntry {
  readonly name: string;
  /** Whether it has been trained since its index was made. */
  readonly isOutdated: boolean;
  /** Fetches the model. Throws if a request fails. */
  readonly fetch: (told: FetchProgress) => Promise<Fetched>;
}

/** A fetched model. */
export interface Fetched {
  /** A checkpoint or model file. */
  readonly file: Uint8Array<ArrayBuffer>;
  readonly index: Index | undefined;
  /** Held-out images, for a model without an index. */
  readonly examples: readonly Example[];
}

export interface Example extends InputImage {
  readonly image: Image;
}

/** Called with the name of a download, its bytes so far, and the total if known. */
export type FetchProgress = (what: string, bytes: number, total: number | undefined) => void;

/** Lists the models of the server, and the model trained in this browser. Throws if the server does not answer. */
export async function listModels(): Promise<readonly CatalogEntry[]> {
  const served = (await (await fetchResponse("api/models.json")).json()) as ModelList;
  const stored = await storedModel();
  return [...served.map(servedEntry), ...(stored ? [storedEntry(stored)] : [])];
}

function servedEntry(model: ModelState): CatalogEntry {
  return {
    name: model.name,
    isOutdated: model.index?.isOutdated ?? false,
    fetch: async (told) => ({
      file: await fetchBytes(addressOf("models", model.name, "model.safetensors", model.version), (...bytes) =>
        told(model.name, ...bytes),
      ),
      index: await fetchIndex(model, (...bytes) => told("its index", ...bytes)),
      examples: [],
    }),
  };
}

function storedEntry({ title, bytes }: StoredModel): CatalogEntry {
  return {
    name: title,
    isOutdated: false,
    fetch: async () => ({ file: bytes, index: undefined, examples: await heldOutExamples() }),
  };
}

/** Returns one held-out image per class. */
async function heldOutExamples(): Promise<readonly Example[]> {
  const test = heldOutBuiltin();
  const examples: Example[] = [];
  for (const index of firstOfEachClass(fullSubset(test))) {
    const image = await test.decode(index);
    if (!isFailure(image)) examples.push({ name: test.name(index), image });
  }
  return examples;
}

/** A model's index. */
export interface Index {
  readonly names: IndexedNames;
  readonly features: Uint8Array<ArrayBuffer>;
  /** Address of the picture of a row. */
  readonly picture: (row: number) => string;
  /** Address of the image of a row with the channels that the network takes. */
  readonly input: (row: number) => string;
}

async function fetchIndex(model: ModelState, onProgress: OnProgress): Promise<Index | undefined> {
  if (model.index === undefined) return undefined;
  const { version } = model.index;
  const at = (file: string) => addressOf("models", model.name, file, version);
  const names = (await (await fetchResponse(at("index.json"))).json()) as IndexedNames;
  return {
    names,
    features: await fetchBytes(at("features.npy"), onProgress),
    picture: (row) => at(`images/${row}.webp`),
    input: (row) => at(`images/${row}.${names.inputs}`),
  };
}

type OnProgress = (bytes: number, total: number | undefined) => void;

async function fetchBytes(address: string, onProgress: OnProgress): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetchResponse(address);
  const length = Number(response.headers.get("content-length") ?? NaN);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for (const reader = response.body!.getReader(); ;) {
    const { value, done } = await reader.read();
    if (done) break;
    parts.push(value);
    bytes += value.length;
    onProgress(bytes, Number.isNaN(length) ? undefined : length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Fetches from the server. Throws, for visitors, if it does not answer or the request fails. */
export async function fetchResponse(address: string): Promise<Response> {
  const response = await fetch(address).catch(() => undefined);
  if (response === undefined) throw new Error("The server does not answer; is `dino serve` still running?");
  if (!response.ok) throw new Error(`${address} failed: ${response.status} ${(await response.text()).trim()}`);
  return response;
}
