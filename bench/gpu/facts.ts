/** What a machine has of what the stages need: its adapter, and Python's packages. */
import { execFile, type ExecFileException } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Diagnosis } from "../../dino/experiments/doctor.js";

/** Root of the project. */
export const root = fileURLToPath(new URL("../..", import.meta.url));

/** What Python has, as printed by `bench/torch/probe.py`. */
export interface PythonFacts {
  /** Version of each package; null if it is missing. */
  readonly packages: Readonly<Record<string, string | null>>;
  /** Name of the card that PyTorch sees; null without one. */
  readonly cuda: string | null;
}

export interface Facts {
  readonly diagnosis: Diagnosis;
  readonly adapter: Exclude<Diagnosis["chosen"], { readonly error: string }>;
  /** PyTorch's side; or why there is none. */
  readonly python: PythonFacts | { readonly error: string };
}

/** The interpreter that runs the scripts of `bench/torch`. */
export const python = process.env["PYTHON"] ?? "python3";

export interface FactsOptions {
  readonly acceptsSoftware: boolean;
  /** Time for which doctor and the Python probe are waited for. */
  readonly patienceMs: number;
}

/** Finds what this machine has. Throws without an adapter, and for a software adapter unless it is accepted. */
export async function findFacts({ acceptsSoftware, patienceMs }: FactsOptions): Promise<Facts> {
  const [diagnosis, probed] = await Promise.all([diagnose(patienceMs), probePython(patienceMs)]);
  const { chosen: adapter } = diagnosis;
  if ("error" in adapter) throw new Error(`no adapter: ${adapter.error}`);
  if (adapter.kind !== "gpu" && !acceptsSoftware) {
    throw new Error(
      `the only adapter is ${adapter.kind}, a software one: ${adapter.name}, ${adapter.why}; ` +
        "--quick rehearses on it, --software measures it",
    );
  }
  return { diagnosis, adapter, python: probed };
}

/** Runs `dino doctor` in a process of its own, which a driver may end. */
async function diagnose(timeout: number): Promise<Diagnosis> {
  const words = [join(root, "dino/dino.js"), "doctor", "--json"];
  const { stdout } = await promisify(execFile)(process.execPath, words, { timeout }).catch((error: unknown) => {
    const { stdout: printed = "", killed, message } = error as Error & ExecFileException;
    if (killed) throw new Error(`dino doctor: no answer for ${timeout / 1000} s`, { cause: error });
    if (printed.trim() !== "") return { stdout: printed }; // a diagnosis without an adapter ends with an error
    throw new Error(`dino doctor: ${message.trim()}`, { cause: error });
  });
  return JSON.parse(stdout) as Diagnosis;
}

async function probePython(timeout: number): Promise<Facts["python"]> {
  try {
    const script = join(root, "bench/torch/probe.py");
    const { stdout } = await promisify(execFile)(python, [script], { timeout });
    return JSON.parse(stdout) as PythonFacts;
  } catch (error) {
    return { error: `${python} does not run: ${(error as Error).message.trim().split("\n").at(-1)}` };
  }
}
