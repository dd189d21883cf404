/** Thumbnails by row, fetched in groups as they come into sight; the groups used last are kept. */
import type { SimilarImage } from "../../explorer/api.js";
import type { PictureLevels } from "../../explorer/picture-levels.js";
import type { Group } from "./source.js";

/** Groups kept in memory, some 150 KB each. */
const MOST_GROUPS = 300;
const AT_ONCE = 6;

export interface ThumbnailStore {
  /** Returns the thumbnail of a row if it is here; otherwise fetches its group, later than what is asked for after it. */
  readonly peek: (row: number) => Blob | undefined;
  /** Fetches the thumbnail of a row; empty if the image could not be read. */
  readonly thumbnail: (row: number) => Promise<Blob>;
  readonly neighbors: (row: number) => Promise<readonly SimilarImage[]>;
}

export function openThumbnailStore(
  { order }: PictureLevels,
  options: {
    readonly groupRows: number;
    readonly read: (group: number) => Promise<Group>;
    /** Called when more thumbnails are here. */
    readonly onArrival: () => void;
    readonly onError: (error: unknown) => void;
  },
): ThumbnailStore {
  const { groupRows, read, onArrival, onError } = options;
  const position = new Int32Array(order.length);
  for (let i = 0; i < order.length; i++) position[order[i]!] = i;
  const groups = new Map<number, Group>();
  const pending = new Map<number, Promise<Group>>();
  let wanted: number[] = [];

  const fetchGroup = (group: number): Promise<Group> => {
    const known = pending.get(group);
    if (known) return known;
    const reading = read(group).then((found) => {
      groups.set(group, found);
      if (groups.size > MOST_GROUPS) groups.delete(groups.keys().next().value!);
      return found;
    });
    pending.set(group, reading);
    void reading.then(onArrival, onError).finally(() => {
      pending.delete(group);
      fetchWanted();
    });
    return reading;
  };
  const fetchWanted = (): void => {
    while (pending.size < AT_ONCE && wanted.length > 0) void fetchGroup(wanted.pop()!).catch(() => undefined);
  };
  const use = (group: number): Group | undefined => {
    const found = groups.get(group);
    if (found) {
      groups.delete(group);
      groups.set(group, found);
    }
    return found;
  };
  const placeOf = (row: number) => ({
    group: Math.floor(position[row]! / groupRows),
    index: position[row]! % groupRows,
  });
  return {
    peek: (row) => {
      const { group, index } = placeOf(row);
      const found = use(group);
      if (found) return found.thumbnails[index];
      if (!pending.has(group)) {
        wanted = [...wanted.filter((other) => other !== group), group].slice(-64);
        fetchWanted();
      }
      return undefined;
    },
    thumbnail: async (row) => {
      const { group, index } = placeOf(row);
      return (use(group) ?? (await fetchGroup(group))).thumbnails[index]!;
    },
    neighbors: async (row) => {
      const { group, index } = placeOf(row);
      return (use(group) ?? (await fetchGroup(group))).neighbors[index]!;
    },
  };
}
