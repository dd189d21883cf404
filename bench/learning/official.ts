/** The official code as a learner: its settings, its checks, and its training in a separate process. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { flagOf, formatSize, formatValue } from "../../dino/config/flags.js";
import type { Config, SettingName } from "../../dino/config/settings.js";
import { vitConfig } from "../../dino/model/configure.js";
import { Interrupted } from "../../dino/training/interrupt.js";
import type { LearningCurve, Point } from "./curves.js";

/** Contents of `bench/torch/settings.json`: how `learn.py` treats each setting. */
export interface OfficialSettings {
  readonly taken: readonly SettingName[];
  /** Settings that do not affect learning, or not in one process. */
  readonly withoutEffect: readonly SettingName[];
  /** Settings that the official code lacks, with the value that turns them off. */
  readonly fixed: { readonly [Name in SettingName]?: Config[Name] };
}

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const SCRIPT = here("../torch/learn.py");

/** Reads `bench/torch/settings.json`. */
export async function officialSettings(): Promise<OfficialSettings> {
  return JSON.parse(await readFile(here("../torch/settings.json"), "utf8")) as OfficialSettings;
}

/** Throws, naming the flag, if the official code lacks a setting. */
export function expectSupported(config: Config, { fixed }: Pick<OfficialSettings, "fixed">): void {
  for (const [name, value] of Object.entries(fixed) as [SettingName, Config[SettingName]][]) {
    if (config[name] === value) continue;
    const [ours, theirs] = [formatValue(config[name]), value === null ? "none" : formatValue(value)];
    throw new Error(`${flagOf(name)} ${ours}: the official code has no such setting; leave it at ${theirs}`);
  }
  const { dim, mlpRatio } = vitConfig(config);
  if (!Number.isInteger(dim * mlpRatio))
    throw new Error(`--mlp-ratio ${mlpRatio}: the official code rounds ${dim * mlpRatio} down; give a whole width`);
  for (const name of ["imageSize", "localSize"] as const) {
    const { rows, cols } = config[name];
    if (rows !== cols)
      throw new Error(
        `${flagOf(name)} ${formatSize({ rows, cols })}: the official code has square crops; give one side`,
      );
  }
}

const FILES = ["main_dino.py", "utils.py", "vision_transformer.py"];

/** Returns the device of the official code. Throws if the folder lacks a file, or if Python or PyTorch is missing. */
export async function checkOfficial(folder: string): Promise<string> {
  const missing = FILES.find((name) => !existsSync(join(folder, name)));
  if (missing !== undefined) {
    throw new Error(
      `--official ${folder}: ${missing} is missing; name a folder with the official code: ` +
        "git clone https://github.com/facebookresearch/dino",
    );
  }
  let device = "";
  await runScript(["--official", folder, "--check"], (line) => ({ device = "" } = line as { device?: string }));
  return device;
}

/** Options of `trainOfficial`. */
export interface OfficialTraining {
  /** Folder of the official code. */
  readonly official: string;
  readonly configFile: string;
  /** Folder of `exportImages`. */
  readonly images: string;
  readonly seed: number;
  /** Steps after which k-NN is evaluated, including the last one. */
  readonly at: readonly number[];
  /** File of `exportStart`; by default the code draws its own initial values. */
  readonly start?: string | undefined;
  /** File of `exportCrops`; by default the code makes its own crops. */
  readonly crops?: string | undefined;
  /** Aborts the training; the reason is the name of a signal. */
  readonly stop?: AbortSignal | undefined;
  readonly onMeasured?: (point: Point) => void;
}

/** Trains with the official code. Throws Interrupted if `stop` is aborted. */
export async function trainOfficial(training: OfficialTraining): Promise<LearningCurve> {
  const { official, configFile, images, seed, at, start, crops, stop, onMeasured } = training;
  const points: Point[] = [];
  let end: { readonly seconds: number; readonly loss: number; readonly device: string } | undefined;
  await runScript(
    [
      ...["--official", official, "--config", configFile, "--images", images],
      ...["--seed", `${seed}`, "--at", ...at.map(String)],
      ...(start === undefined ? [] : ["--init", start]),
      ...(crops === undefined ? [] : ["--crops", crops]),
    ],
    (line) => {
      if ("seconds" in line) {
        end = line as unknown as NonNullable<typeof end>;
        return;
      }
      const { step, top1 } = line as { step: number; top1: number };
      points.push([step, top1]);
      onMeasured?.([step, top1]);
    },
    stop,
  );
  if (!end) throw new Error(`${SCRIPT} ended without a result`);
  return { seed, points, stepsPerSecond: at.at(-1)! / end.seconds, loss: end.loss, device: end.device };
}

/** Runs learn.py with the interpreter named by the variable PYTHON, and parses its JSON lines. */
async function runScript(args: readonly string[], take: (line: object) => void, stop?: AbortSignal): Promise<void> {
  const python = process.env["PYTHON"] ?? "python3";
  const child = spawn(python, [SCRIPT, ...args], { stdio: ["ignore", "pipe", "pipe"], ...(stop && { signal: stop }) });
  let stderr = "";
  child.stderr.on("data", (text: Buffer) => (stderr = (stderr + text.toString()).slice(-10_000)));
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  const fail = (why: string, cause?: unknown) =>
    new Error(
      `--learning: ${python} could not run ${SCRIPT}: ${why}; ` +
        "install PyTorch and torchvision, or let PYTHON name an interpreter that has them",
      { cause },
    );
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => take(JSON.parse(line) as object));
  const code = await ended.catch((error: unknown) => {
    if (stop?.aborted)
      throw new Interrupted(stop.reason as NodeJS.Signals, "stopped; the same command begins this seed again");
    throw fail((error as Error).message, error);
  });
  if (code === 0) return;
  const last = stderr.trim().split("\n").at(-1) ?? "";
  if (/ModuleNotFoundError|ImportError/.test(last)) throw fail(last);
  throw new Error(`${SCRIPT} failed: ${last === "" ? `exit status ${code}` : last}`);
}
