/** Everything that a browser can request, by address: the pages themselves and the files of runs and models. */
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { pictureName } from "../run/picture-names.js";
import type { ModelList, RunList } from "./api.js";
import {
  describeModel,
  modelBytes,
  type ModelFinder,
  type ModelReaderOptions,
  openIndex,
  openModels,
  type ServedIndex,
  type ServedModel,
} from "./models.js";
import { openPage } from "./page.js";
import { describeRun, findRuns, readLogPart, readRunFile, type Runs } from "./runs.js";

export interface SiteOptions extends Partial<ModelReaderOptions> {
  /** Folders of runs, or folders that contain them. */
  readonly roots: readonly string[];
  readonly log: (line: string) => void;
}

/** The content of an address. */
export interface Content {
  readonly type: string;
  readonly bytes: Uint8Array | string;
  /** Whether the content of this address never changes. */
  readonly isImmutable?: boolean;
}

/** An address and the way to read its content. */
export interface Resource {
  /** Parts separated by "/", not encoded. */
  readonly address: string;
  readonly read: () => Promise<Content | undefined>;
}

export interface Site {
  /** Reads the content of an address, undefined if it has none. Throws a RangeError for an invalid query. */
  read(address: string, query: URLSearchParams): Promise<Content | undefined>;
  /** Lists all addresses that have content now, each file whole, for a static export. */
  resources(): Promise<readonly Resource[]>;
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

/** Returns bytes with the type that the ending of a name stands for. */
export function contentOf(name: string, bytes: Content["bytes"]): Content {
  return { type: TYPES[extname(name)] ?? "application/octet-stream", bytes };
}

/** Opens the site of the runs under `roots`. Throws as `openPage` and `openModels` do. */
export async function openSite({ roots, models = [], indexes = [], log }: SiteOptions): Promise<Site> {
  const page = await openPage(log);
  const catalog = openCatalog(roots, await openModels({ models, indexes }));
  const readModel = openModelReader();

  const read: Site["read"] = async (address, query) => {
    const file = page.get(address);
    if (file !== undefined)
      return { ...contentOf(file, await readFile(file)), isImmutable: address.startsWith("/assets/") };
    if (address === "/api/runs.json") return listRuns(await catalog.findRuns(), true);
    if (address === "/api/models.json") return listModels((await catalog.findAll()).models);
    const [, kind, rest] = /^\/api\/(runs|models)\/(.+)$/.exec(address) ?? [];
    const [, name, inside] = /^(.+?)\/((?:(?:pictures|images)\/)?[^/]+)$/.exec(rest ?? "") ?? [];
    if (name === undefined || inside === undefined) return undefined;
    if (kind === "runs") {
      const folder = await catalog.run(name);
      return folder === undefined ? undefined : readRun(folder, inside, query);
    }
    const model = await catalog.model(name);
    return model && readModel(name, model, inside);
  };
  return { read, resources: () => resourcesOf(page, catalog, read) };
}

type Models = ReadonlyMap<string, ServedModel>;

/** Everything found in one search. */
interface Found {
  readonly runs: Runs;
  readonly models: Models;
}

/** The runs and models by name. */
interface Catalog {
  /** Searches the folders for runs. */
  findRuns(): Promise<Runs>;
  /** Searches the folders for runs and models. */
  findAll(): Promise<Found>;
  /** Returns the folder of a run; searches only if the latest search did not find it. */
  run(name: string): Promise<string | undefined>;
  /** Returns a model; searches only if the latest search did not find it. */
  model(name: string): Promise<ServedModel | undefined>;
}

function openCatalog(roots: readonly string[], findModels: ModelFinder): Catalog {
  let runs: Runs = new Map();
  let models: Models = new Map();
  const searchRuns = async (): Promise<Runs> => (runs = await findRuns(roots));
  const searchAll = async (): Promise<Found> => {
    models = await findModels(await searchRuns());
    return { runs, models };
  };
  return {
    findRuns: searchRuns,
    findAll: searchAll,
    run: async (name) => runs.get(name) ?? (await searchRuns()).get(name),
    model: async (name) => models.get(name) ?? (await searchAll()).models.get(name),
  };
}

/** Describes the runs, without those that cannot be read; `isLive` if a server answers for them. */
async function listRuns(runs: Runs, isLive: boolean): Promise<Content> {
  const all = await Promise.all([...runs].map(([name, folder]) => describeRun(name, folder).catch(() => undefined)));
  return json({ isLive, runs: all.filter((run) => run !== undefined) } satisfies RunList);
}

/** Describes the models, without those that cannot be read. */
async function listModels(models: Models): Promise<Content> {
  const all = await Promise.all([...models].map(([name, model]) => describeModel(name, model).catch(() => undefined)));
  return json(all.filter((state) => state !== undefined) satisfies ModelList);
}

/** Reads a file of a run: of its log, the part that the query asks for. */
async function readRun(folder: string, file: string, query: URLSearchParams): Promise<Content | undefined> {
  if (file !== "log.json") {
    const bytes = await readRunFile(folder, file);
    return bytes && contentOf(file, bytes);
  }
  const from = Number(query.get("from") ?? 0);
  if (!Number.isSafeInteger(from) || from < 0) throw new RangeError("from: expected a number of bytes");
  const part = await readLogPart(folder, { from, version: query.get("version") ?? "" });
  return part && json(part);
}

type ModelReader = (name: string, model: ServedModel, file: string) => Promise<Content | undefined>;

/** Reads files of models and their indexes; keeps the latest of each in memory. */
function openModelReader(): ModelReader {
  const bytesOf = cacheLast(modelBytes);
  const indexOf = cacheLast(openIndex);
  return async (name, model, file) => {
    const { version, index } = await describeModel(name, model);
    if (file === "model.safetensors") return contentOf(file, await bytesOf(version, model));
    if (model.index === undefined || index === undefined) return undefined;
    return readIndexed(await indexOf(index.version, { ...model, index: model.index }), file);
  };
}

/** Lists everything at the site now, for `Site.resources`. */
async function resourcesOf(
  page: ReadonlyMap<string, string>,
  catalog: Catalog,
  read: Site["read"],
): Promise<readonly Resource[]> {
  const { runs, models } = await catalog.findAll();
  const placeAt = (address: string): Resource => ({ address, read: () => read(address, new URLSearchParams()) });
  const places: Resource[] = [...page.keys()].filter((address) => address !== "/").map(placeAt);
  places.push({ address: "/api/runs.json", read: async () => listRuns(await catalog.findRuns(), false) });
  places.push(placeAt("/api/models.json"));
  for (const [name, folder] of runs) places.push(...(await resourcesOfRun(name, folder, placeAt)));
  for (const [name, model] of models) {
    for (const file of await filesOfModel(model)) places.push(placeAt(`/api/models/${name}/${file}`));
  }
  return places;
}

/** Lists the files of a run; its log is one resource, which reads all parts. */
async function resourcesOfRun(
  name: string,
  folder: string,
  placeAt: (address: string) => Resource,
): Promise<readonly Resource[]> {
  const state = await describeRun(name, folder);
  const readLog = async () => {
    const part = await readLogPart(folder, { from: 0, version: "" }, Infinity);
    return part && json(part);
  };
  const pictures = state.pictures.flatMap(({ kind, steps }) => steps.map((step) => pictureName(step, kind)));
  return [
    placeAt(`/api/runs/${name}/config.json`),
    { address: `/api/runs/${name}/log.json`, read: readLog },
    ...(state.profile === undefined ? [] : [placeAt(`/api/runs/${name}/profile.json`)]),
    ...pictures.map((picture) => placeAt(`/api/runs/${name}/pictures/${picture}`)),
  ];
}

/** Lists the files of a model and of its index. */
async function filesOfModel({ path, index }: ServedModel): Promise<readonly string[]> {
  if (index === undefined) return ["model.safetensors"];
  const { names } = await openIndex({ path, index });
  const forms = new Set(["webp", names.inputs]);
  const images = [...names.files.keys()].flatMap((row) => [...forms].map((form) => `images/${row}.${form}`));
  return ["model.safetensors", "features.npy", "index.json", ...images];
}

function json(value: unknown): Content {
  return contentOf(".json", JSON.stringify(value));
}

/** Reads a file of an index: its list, its features or an image. */
async function readIndexed({ names, features, image }: ServedIndex, file: string): Promise<Content | undefined> {
  if (file === "index.json") return json(names);
  if (file === "features.npy") return contentOf(file, await features());
  const [, row, form] = /^images\/(\d+)\.(\w+)$/.exec(file) ?? [];
  const bytes = form === undefined ? undefined : await image(Number(row), form);
  return bytes && contentOf(file, bytes);
}

/** A cache of one entry: opens each version once for all callers, and keeps the one requested last. */
function cacheLast<Source, Opened>(
  open: (source: Source) => Promise<Opened>,
): (version: string, source: Source) => Promise<Opened> {
  let latest: { readonly version: string; readonly opened: Promise<Opened> } | undefined;
  return (version, source) => {
    if (latest?.version !== version) {
      const opened = open(source);
      latest = { version, opened };
      opened.catch(() => (latest = undefined));
    }
    return latest.opened;
  };
}
