/** Progress on the terminal: a bar if stderr is interactive, otherwise a line every few seconds. */
import { SingleBar } from "cli-progress";

/** Progress of a long-running task. */
export interface ProgressBar {
  /** Sets the progress and the message shown beside it; without `message` the last one stays. */
  update(done: number, message?: string): void;
  /** Prints a line above the bar. */
  log(line: string): void;
  /** Ends the bar; may be called twice. */
  stop(): void;
  [Symbol.dispose](): void;
}

export interface ProgressOptions {
  readonly title: string;
  readonly total: number;
  /** Progress at the start, for a resumed task; 0 if left out. */
  readonly start?: number;
  /** Unit of the count, such as "steps"; none if left out. */
  readonly unit?: string;
  /** Output stream; stderr if left out, so that stdout holds results only. */
  readonly stream?: NodeJS.WriteStream;
}

const LINE_EVERY_MS = 5000;
/** Tasks that end earlier print no line. */
const FIRST_LINE_MS = 2000;

/** Starts to show progress. */
export function startProgress(options: ProgressOptions): ProgressBar {
  const { title, total, start = 0, unit = "", stream = process.stderr } = options;
  const began = performance.now();
  let done = start;
  let latest = "";

  const timeLeft = (): string => {
    const elapsedMs = performance.now() - began;
    if (done === start || done >= total || elapsedMs < 500) return "";
    return `${formatTime((elapsedMs / (done - start)) * (total - done))} left`;
  };
  const count = (): string => `${done}/${total}${unit && ` ${unit}`}`;
  const line = (...parts: string[]): string => parts.filter((part) => part !== "").join(", ");

  if (stream.isTTY) {
    const bar = new SingleBar({
      stream,
      format: `${title} {bar} {percentage}%  {text}`,
      barsize: 24,
      barCompleteChar: "\u2588",
      barIncompleteChar: "\u2591",
      linewrap: false,
    });
    bar.start(total, start, { text: count() });
    const stop = (): void => bar.stop();
    return {
      update(now, message = latest) {
        done = now;
        latest = message;
        bar.update(done, { text: line(count(), latest, timeLeft()) });
      },
      log(text) {
        stream.write(`\r\u001b[K${text}\n`);
        bar.render();
      },
      stop,
      [Symbol.dispose]: stop,
    };
  }

  let nextMs = began + FIRST_LINE_MS;
  return {
    update(now, message = latest) {
      done = now;
      latest = message;
      if (performance.now() < nextMs) return;
      nextMs = performance.now() + LINE_EVERY_MS;
      stream.write(`${title}: ${line(count(), latest, timeLeft())}\n`);
    },
    log: (text) => void stream.write(`${text}\n`),
    stop: () => undefined,
    [Symbol.dispose]: () => undefined,
  };
}

/** Progress of a task that reports its total as it runs; shown from the first report on. */
export interface LazyProgress {
  readonly report: (done: number, total: number) => void;
  [Symbol.dispose](): void;
}

/** Returns progress under a title that starts with the first report. */
export function lazyProgress(title: string): LazyProgress {
  let progress: ProgressBar | undefined;
  return {
    report(done, total) {
      progress ??= startProgress({ title, total });
      progress.update(done);
      if (done >= total) progress.stop();
    },
    [Symbol.dispose]: () => progress?.stop(),
  };
}

/** Returns a function that prints a running count, whose total is unknown, every few seconds. */
export function reportCount(title: string, stream: NodeJS.WritableStream = process.stderr): (count: number) => void {
  let nextMs = performance.now() + FIRST_LINE_MS;
  return (count) => {
    if (performance.now() < nextMs) return;
    nextMs = performance.now() + LINE_EVERY_MS;
    stream.write(`${title}: ${count}\n`);
  };
}

/** Milliseconds as 5 s, 1 min 20 s or 2 h 5 min. */
export function formatTime(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
