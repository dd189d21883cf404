/** The model that a page stores in this browser for the other pages. */
import { get, set } from "idb-keyval";

export interface StoredModel {
  /** Display name. */
  readonly title: string;
  /** Content of its file, a checkpoint or a model. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const KEY = "dino kept model";

/** Stores a model, replacing the former one. Throws if the browser has no room or no storage. */
export function storeModel(bytes: Uint8Array<ArrayBuffer>, title: string): Promise<void> {
  return set(KEY, { title, bytes } satisfies StoredModel);
}

/** Returns the stored model; undefined without one, and if the browser has no storage. */
export function storedModel(): Promise<StoredModel | undefined> {
  return get<StoredModel>(KEY).catch(() => undefined);
}
