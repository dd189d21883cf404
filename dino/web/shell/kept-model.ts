/** The model that a page keeps in this browser for other pages of it. */
import { get, set } from "idb-keyval";

export interface StoredModel {
  /** What pages call it. */
  readonly title: string;
  /** Of its file: a checkpoint or a model. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const KEY = "dino kept model";

/** Keeps a model, in the place of the one that was kept before. Throws where the browser has no room, or keeps nothing. */
export function storeModel(bytes: Uint8Array<ArrayBuffer>, title: string): Promise<void> {
  return set(KEY, { title, bytes } satisfies StoredModel);
}

/** The model that was kept last; undefined where there is none, also where the browser keeps nothing. */
export function storedModel(): Promise<StoredModel | undefined> {
  return get<StoredModel>(KEY).catch(() => undefined);
}
