/** Batches made on worker threads. */
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import type { Decoding } from "../images/image-location.js";
import { WHOLE_BATCH } from "./batch-shard.js";
import type { WorkerCrops, WorkerItem, WorkerSetup, WorkerTask } from "./batch-worker.js";
import { type Batches, type BatchOptions, openBatches } from "./batches.js";

export interface ThreadedBatchOptions extends BatchOptions {
  /** Number of worker threads, at most one per core, which is also the default. */
  readonly threads?: number;
}

/** Starts the workers and the first batches. Throws where openBatches does. */
export function openThreadedBatches({ threads = Infinity, ...options }: ThreadedBatchOptions): Batches {
  const { images, batch, shard = WHOLE_BATCH, onDevice = false } = options;
  if (!(threads >= 1)) throw new Error(`batches threads: expected 1 or more, got ${threads}`);
  return openBatches(options, (settings) => {
    const workers = Math.min(Math.floor(threads), availableParallelism());
    const decoding = onDevice ? shrinking(images.decoding) : images.decoding;
    const pool = startPool(workers, { decoding, ...settings });
    return {
      imagesPerTask: Math.max(1, Math.min(8, Math.ceil(batch / shard.size / (2 * workers)))),
      crop: (epoch, items) =>
        pool.run(
          epoch,
          items.map(({ index, key }) => ({ location: images.location(index), key })),
        ),
      close: () => pool.close(),
    };
  });
}

/** Shorter side to which files are shrunk for cropping on a device, so that images up to 16:9 fit into a slot. */
const SHORT_SIDE = 384;

function shrinking(decoding: Decoding): Decoding {
  return { ...decoding, shortSide: Math.min(decoding.shortSide ?? Infinity, SHORT_SIDE) };
}

interface Pool {
  run(epoch: number, items: readonly WorkerItem[]): Promise<WorkerCrops>;
  close(): Promise<void>;
}

/** Starts workers with a common queue. Once a worker fails, or after `close`, every task is rejected. */
function startPool(count: number, setup: WorkerSetup): Pool {
  interface Task {
    readonly message: WorkerTask & { readonly kind: "crops" };
    readonly resolve: (crops: WorkerCrops) => void;
    readonly reject: (error: Error) => void;
  }
  interface Thread {
    readonly worker: Worker;
    readonly tasks: Map<number, Task>;
    readonly exited: Promise<void>;
  }
  const queue: Task[] = [];
  let sent = 0;
  let ended: Error | undefined;

  const end = (error: Error): void => {
    ended ??= error;
    for (const { tasks } of threads) queue.push(...tasks.values());
    for (const { reject } of queue.splice(0)) reject(ended);
  };
  /** Sends two tasks to each worker: one is cropped while the next is decoded. */
  const send = (): void => {
    for (let load = 0; load < 2; load++) {
      for (const { worker, tasks } of threads) {
        const task = tasks.size <= load ? queue.shift() : undefined;
        if (task === undefined) continue;
        tasks.set(task.message.id, task);
        worker.postMessage(task.message);
      }
    }
  };
  const threads = Array.from({ length: count }, (): Thread => {
    const worker = startWorker(setup);
    const tasks = new Map<number, Task>();
    worker.on("message", (answer: WorkerCrops) => {
      const task = tasks.get(answer.id);
      tasks.delete(answer.id);
      send();
      task?.resolve(answer);
    });
    worker.on("error", (error) => {
      const { message } = error instanceof Error ? error : { message: String(error) };
      end(new Error(`batches: a worker failed: ${message}`, { cause: error }));
    });
    const exited = new Promise<void>((resolve) => {
      worker.once("exit", (code) => {
        end(new Error(`batches: a worker ended by itself, with code ${code}`));
        resolve();
      });
    });
    return { worker, tasks, exited };
  });

  return {
    run: (epoch, items) =>
      new Promise((resolve, reject) => {
        if (ended !== undefined) {
          reject(ended);
          return;
        }
        queue.push({ message: { kind: "crops", id: sent++, epoch, items }, resolve, reject });
        send();
      }),
    close: async () => {
      end(new Error("batches: closed"));
      for (const { worker } of threads) worker.postMessage({ kind: "close" } satisfies WorkerTask);
      await Promise.all(threads.map(({ exited }) => exited));
    },
  };
}

/** Starts a worker from the compiled package, or from the sources through tsx. */
function startWorker(setup: WorkerSetup): Worker {
  if (!import.meta.url.endsWith(".ts")) {
    return new Worker(new URL("./batch-worker.js", import.meta.url), { workerData: setup });
  }
  // Node 20 does not apply `--import tsx` to the file that a worker is started with, nor to what it imports on demand.
  const { resolve } = createRequire(import.meta.url);
  const [required, imported, file] = [
    resolve("tsx/cjs/api"),
    pathToFileURL(resolve("tsx/esm/api").replace(/\.cjs$/, ".mjs")), // the form of it that a worker can import
    fileURLToPath(new URL("./batch-worker.ts", import.meta.url)),
  ].map((path) => JSON.stringify(path));
  const code = `require(${required}).register(); import(${imported}).then(({ register }) => { register(); require(${file}); });`;
  return new Worker(code, { eval: true, execArgv: [], workerData: setup });
}
