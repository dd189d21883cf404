/** Comparison of our rows with PyTorch on the same machine. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { KernelTime } from "../engine/index.js";
import type { Measured } from "./measure.js";

/** Output of `bench/torch/bench.py`. */
export interface PeerResult {
  readonly device: string;
  readonly rows: readonly Pick<Measured, "name" | "medianMs" | "minMs" | "gflopPerS" | "gbPerS">[];
  /** Time of each operator in a training step, longest first; present if the step was measured. */
  readonly profile?: readonly KernelTime[];
}

export const precisions = ["f32", "tf32", "amp"] as const;

export interface TorchOptions {
  readonly batch: number;
  readonly filter: string;
  readonly precision: (typeof precisions)[number];
}

/** Runs the rows in PyTorch, with the interpreter named by the variable PYTHON. Throws if PyTorch is missing. */
export async function runTorch({ batch, filter, precision }: TorchOptions): Promise<PeerResult> {
  const script = fileURLToPath(new URL("./torch/bench.py", import.meta.url));
  const python = process.env["PYTHON"] ?? "python3";
  const args = [script, "--batch", String(batch), "--filter", filter, "--precision", precision];
  try {
    const { stdout } = await promisify(execFile)(python, args, { maxBuffer: 2 ** 24 });
    return JSON.parse(stdout) as PeerResult;
  } catch (error) {
    const { stderr, message } = error as Error & { readonly stderr?: string };
    const stderrLine = stderr?.trim().split("\n").at(-1);
    throw new Error(
      `--against torch: ${python} could not run ${script}: ${stderrLine ?? message}; ` +
        "install PyTorch, or let PYTHON name an interpreter that has it",
      { cause: error },
    );
  }
}

/** A row measured by both. */
export interface Compared {
  readonly name: string;
  readonly oursMs: number;
  readonly theirsMs: number;
  /** Their time over ours: above 1 if ours is faster. */
  readonly ratio: number;
}

/** Pairs the rows that both have measured, in our order. */
export function compare(ours: readonly Measured[], theirs: PeerResult): Compared[] {
  const byName = new Map(theirs.rows.map((row) => [row.name, row.medianMs]));
  return ours.flatMap(({ name, medianMs }) => {
    const theirsMs = byName.get(name);
    return theirsMs === undefined ? [] : [{ name, oursMs: medianMs, theirsMs, ratio: theirsMs / medianMs }];
  });
}

/** Formats the comparison as Markdown. */
export function markdown(compared: readonly Compared[], ours: string, theirs: string): string {
  return [
    `| row | ours, ms | PyTorch, ms | PyTorch's time over ours |`,
    "| --- | ---: | ---: | ---: |",
    ...compared.map(
      ({ name, oursMs, theirsMs, ratio }) =>
        `| ${name} | ${oursMs.toPrecision(3)} | ${theirsMs.toPrecision(3)} | ${ratio.toFixed(2)} |`,
    ),
    "",
    `Ours: ${ours}. PyTorch: ${theirs}.`,
  ].join("\n");
}
