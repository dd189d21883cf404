/** Hook for the available models and the open one. */
import { useCallback, useEffect, useState } from "preact/hooks";
import { type CatalogEntry, type Fetched, listModels } from "./catalog.js";
import type { RemoteViewer } from "./thread.js";
import { fetchImage, type ShownImage } from "./use-image.js";
import type { Task } from "./use-task.js";
import type { ModelFacts } from "./viewer-model.js";

/** The extension of model files. */
export const MODEL_FILE = ".safetensors";
/** The preferred minimum of the shorter side in pixels; the maps of smaller images are coarse. */
const LEAST_CLEAR = 96;

type Companions = Omit<Fetched, "file">;

/** The companions of a model from a file. */
const ALONE: Companions = { index: undefined, examples: [] };

/** The model that the thread has opened, with its index and examples. */
export interface OpenedModel extends Companions {
  readonly name: string;
  readonly facts: ModelFacts;
}

interface ModelChoices {
  /** Undefined until the models are found. */
  readonly models: readonly CatalogEntry[] | undefined;
  /** The name of the chosen model; undefined for a model from a file. */
  readonly chosen: string | undefined;
  readonly choose: (name: string | undefined) => void;
}

export interface CurrentModel extends ModelChoices {
  readonly opened: OpenedModel | undefined;
  /** The shorter side that images are resized to. */
  readonly size: number | undefined;
  readonly setSize: (size: number) => void;
  /** Opens a model file instead of the chosen model. */
  readonly openFile: (file: Blob, name: string) => Promise<void>;
  /** Opens the model again, on a new device if the last one was lost. */
  readonly reopen: () => Promise<void>;
}

/** Opens the chosen model whenever the choice changes, and shows the first image that comes with it. */
export function useModel(thread: RemoteViewer, task: Task, { show }: ShownImage): CurrentModel {
  const { attempt, setWorking } = task;
  const { models, chosen, choose } = useModelChoices(task);
  const [opened, setOpened] = useState<OpenedModel>();
  const [size, setSize] = useState<number>();

  const takeOver = useCallback((name: string, facts: ModelFacts, { index, examples }: Companions) => {
    setOpened({ name, facts, index, examples });
    setSize((before) =>
      before !== undefined && facts.sizes.includes(before)
        ? before
        : (facts.sizes.find((side) => side >= LEAST_CLEAR) ?? facts.sizes.at(-1)),
    );
  }, []);

  useEffect(() => {
    const model = models?.find(({ name }) => name === chosen);
    if (!model) return;
    void attempt(`Fetching ${model.name}`, async () => {
      const { file, index, examples } = await model.fetch((what, bytes, total) => {
        setWorking(`Fetching ${what}: ${megabytes(bytes)}${total === undefined ? "" : ` of ${megabytes(total)}`} MB`);
      });
      setWorking("Opening the device");
      const facts = await thread.open(file, index?.features);
      try {
        const [first = index && (await fetchImage(index, 0))] = examples;
        if (first) show(first); // with the model, which may not take the image before
      } finally {
        takeOver(model.name, facts, { index, examples });
      }
    });
  }, [models, chosen, attempt]);

  const openFile = useCallback(async (file: Blob, name: string) => {
    const bytes = new Uint8Array(await file.arrayBuffer());
    takeOver(name, await thread.open(bytes, undefined), ALONE);
    choose(undefined);
  }, []);
  const reopen = () =>
    attempt("Reopening the device", async () => {
      takeOver(opened?.name ?? "", await thread.reopen(), opened ?? ALONE);
    });
  return { models, chosen, choose, opened, size, setSize, openFile, reopen };
}

/** Finds the models once, and chooses the latest of them after a training, else the first. */
function useModelChoices({ attempt }: Task): ModelChoices {
  const [models, setModels] = useState<readonly CatalogEntry[]>();
  const [chosen, choose] = useState<string>();
  useEffect(() => {
    void attempt("Asking for models", async () => {
      const found = await listModels();
      setModels(found);
      const comesFromTraining = new URL(document.referrer || location.href).pathname.endsWith("/train.html");
      choose((comesFromTraining ? found.at(-1) : found[0])?.name);
    });
  }, [attempt]);
  return { models, chosen, choose };
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
