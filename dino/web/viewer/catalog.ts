/** The models that the page can look with, and the images that their indexes are of. */
import type { IndexedNames, ModelList, ModelState } from "../../dashboard/api.js";

/** Where a file of a model is found, and found anew where its version changes. */
export function addressOf({ name }: ModelState, file: string, version: string): string {
  const path = ["api", "models", ...name.split("/").map(encodeURIComponent), file].join("/");
  return `${path}?version=${encodeURIComponent(version)}`;
}

/** Throws where the server does not answer. */
export async function fetchModels(): Promise<ModelList> {
  return (await (await answerOf("api/models.json")).json()) as ModelList;
}

/** The file of a model. Throws where it does not come. */
export function fetchModel(model: ModelState, onProgress: OnProgress): Promise<Uint8Array<ArrayBuffer>> {
  return fetchBytes(addressOf(model, "model.safetensors", model.version), onProgress);
}

/** What goes with a model's index; undefined where it has none. */
export interface Index {
  readonly names: IndexedNames;
  readonly features: Uint8Array<ArrayBuffer>;
  /** Where the picture of a row is. */
  readonly picture: (row: number) => string;
}

/** Throws where it does not come. */
export async function fetchIndex(model: ModelState, onProgress: OnProgress): Promise<Index | undefined> {
  if (model.index === undefined) return undefined;
  const { version } = model.index;
  const at = (file: string) => addressOf(model, file, version);
  return {
    names: (await (await answerOf(at("index.json"))).json()) as IndexedNames,
    features: await fetchBytes(at("features.npy"), onProgress),
    picture: (row) => at(`images/${row}.webp`),
  };
}

/** Told of bytes that have come, and how many there are where that is known. */
export type OnProgress = (bytes: number, total: number | undefined) => void;

async function fetchBytes(address: string, onProgress: OnProgress): Promise<Uint8Array<ArrayBuffer>> {
  const response = await answerOf(address);
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

async function answerOf(address: string): Promise<Response> {
  const response = await fetch(address).catch(() => undefined);
  if (response === undefined) throw new Error("The server does not answer; is `dino serve` still running?");
  if (!response.ok) throw new Error(`${address} does not come: ${response.status} ${(await response.text()).trim()}`);
  return response;
}
