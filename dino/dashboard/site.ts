/** All that the pages may ask for, by its address: the pages themselves, and what runs have written. */
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { pictureName } from "../run/picture-names.js";
import type { ModelList, RunList } from "./api.js";
import {
  describeModel,
  modelBytes,
  type ModelOptions,
  openIndex,
  openModels,
  type ServedIndex,
  type ServedModel,
} from "./models.js";
import { openPage } from "./page.js";
import { describeRun, findRuns, readLogPart, readRunFile, type Runs } from "./runs.js";

export interface SiteOptions extends Partial<ModelOptions> {
  /** Folders of runs, and folders that hold such. */
  readonly roots: readonly string[];
  readonly say: (words: string) => void;
}

/** What is at an address. */
export interface Content {
  readonly type: string;
  readonly bytes: Uint8Array | string;
  /** Whether what is at this address never changes. */
  readonly lasts?: boolean;
}

/** Something at an address, and how to get it. */
export interface Place {
  /** "/" between the parts, which are not encoded. */
  readonly address: string;
  readonly read: () => Promise<Content | undefined>;
}

export interface Site {
  /** What is at an address; undefined where there is nothing. Throws a RangeError for a query that makes no sense. */
  at(address: string, query: URLSearchParams): Promise<Content | undefined>;
  /** All that is there now, each file whole, for pages that no server stands behind. */
  places(): Promise<readonly Place[]>;
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".webp": "image/webp",
  ".md": "text/plain; charset=utf-8",
};

function contentOf(name: string, bytes: Content["bytes"]): Content {
  return { type: TYPES[extname(name)] ?? "application/octet-stream", bytes };
}

/** Opens the pages of some runs. Throws where there are no pages, and where openModels does. */
export async function openSite({ roots, models = [], indexes = [], say }: SiteOptions): Promise<Site> {
  const page = await openPage(say);
  const findModels = await openModels({ models, indexes });
  let runs: Runs = new Map();
  let served: ReadonlyMap<string, ServedModel> = new Map();
  const lookForRuns = async () => (runs = await findRuns(roots));
  const lookForModels = async () => (served = await findModels(await lookForRuns()));
  const model = keepLast(modelBytes);
  const index = keepLast((path: string) => openIndex(path));

  const listRuns = async (isLive: boolean): Promise<Content> => {
    await lookForRuns();
    const all = await Promise.all([...runs].map(([name, folder]) => describeRun(name, folder).catch(() => undefined)));
    return json({ isLive, runs: all.filter((run) => run !== undefined) } satisfies RunList);
  };
  const listModels = async (): Promise<Content> => {
    await lookForModels();
    const all = await Promise.all([...served].map(([name, one]) => describeModel(name, one).catch(() => undefined)));
    return json(all.filter((state) => state !== undefined) satisfies ModelList);
  };
  const ofModel = async (name: string, file: string): Promise<Content | undefined> => {
    const one = served.get(name) ?? (await lookForModels()).get(name); // which looks through all folders
    if (one === undefined) return undefined;
    const { version, index: indexed } = await describeModel(name, one);
    if (file === "model.safetensors") return contentOf(file, await model(version, one));
    if (one.index === undefined || indexed === undefined) return undefined;
    return ofIndex(await index(indexed.version, one.index), file);
  };
  const ofRun = async (name: string, file: string, query: URLSearchParams): Promise<Content | undefined> => {
    const folder = runs.get(name) ?? (await lookForRuns()).get(name);
    if (folder === undefined) return undefined;
    if (file !== "log.json") {
      const bytes = await readRunFile(folder, file);
      return bytes && contentOf(file, bytes);
    }
    const from = Number(query.get("from") ?? 0);
    if (!Number.isSafeInteger(from) || from < 0) throw new RangeError("from: expected a number of bytes");
    const part = await readLogPart(folder, { from, version: query.get("version") ?? "" });
    return part && json(part);
  };

  const at: Site["at"] = async (address, query) => {
    const file = page.get(address);
    if (file !== undefined) return { ...contentOf(file, await readFile(file)), lasts: address.startsWith("/assets/") };
    if (address === "/api/runs.json") return listRuns(true);
    if (address === "/api/models.json") return listModels();
    const [, kind, rest] = /^\/api\/(runs|models)\/(.+)$/.exec(address) ?? [];
    const [, name, inside] = /^(.+?)\/((?:(?:pictures|images)\/)?[^/]+)$/.exec(rest ?? "") ?? [];
    if (name === undefined || inside === undefined) return undefined;
    return kind === "runs" ? ofRun(name, inside, query) : ofModel(name, inside);
  };

  return {
    at,
    async places() {
      await lookForModels();
      const [noQuery, places]: [URLSearchParams, Place[]] = [new URLSearchParams(), []];
      const put = (address: string, read: Place["read"] = () => at(address, noQuery)) => places.push({ address, read });
      for (const address of page.keys()) if (address !== "/") put(address);
      put("/api/runs.json", () => listRuns(false));
      put("/api/models.json");
      for (const [name, folder] of runs) {
        const state = await describeRun(name, folder);
        put(`/api/runs/${name}/config.json`);
        put(`/api/runs/${name}/log.json`, async () => {
          const part = await readLogPart(folder, { from: 0, version: "" }, Infinity);
          return part && json(part);
        });
        if (state.profile !== undefined) put(`/api/runs/${name}/profile.json`);
        for (const { kind, steps } of state.pictures) {
          for (const step of steps) put(`/api/runs/${name}/pictures/${pictureName(step, kind)}`);
        }
      }
      for (const [name, one] of served) {
        put(`/api/models/${name}/model.safetensors`);
        if (one.index === undefined) continue;
        const { names } = await openIndex(one.index);
        for (const file of ["features.npy", "index.json"]) put(`/api/models/${name}/${file}`);
        for (const row of names.files.keys()) put(`/api/models/${name}/images/${row}.webp`);
      }
      return places;
    },
  };
}

function json(value: unknown): Content {
  return contentOf(".json", JSON.stringify(value));
}

async function ofIndex({ names, features, picture }: ServedIndex, file: string): Promise<Content | undefined> {
  if (file === "index.json") return json(names);
  if (file === "features.npy") return contentOf(file, await features());
  const [, row] = /^images\/(\d+)\.webp$/.exec(file) ?? [];
  const bytes = row === undefined ? undefined : await picture(Number(row));
  return bytes && contentOf(file, bytes);
}

/** Opens a thing once for all who ask for its version; of several things, the one asked for last is kept. */
function keepLast<T, Opened>(open: (one: T) => Promise<Opened>): (version: string, one: T) => Promise<Opened> {
  let kept: { readonly version: string; readonly opened: Promise<Opened> } | undefined;
  return (version, one) => {
    if (kept?.version !== version) {
      const opened = open(one);
      kept = { version, opened };
      opened.catch(() => (kept = undefined));
    }
    return kept.opened;
  };
}
