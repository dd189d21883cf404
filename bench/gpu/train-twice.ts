/**
 * Trains twice with `dino train` from the same seed, in two processes, and compares weights, optimizer state and losses byte by
 * byte. Prints one JSON value; fails where they differ.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { readLog } from "../../dino/run/log.js";
import { runFiles } from "../../dino/run/run-folder.js";
import { runChild } from "./child.js";
import { root } from "./facts.js";

/** What the process prints. */
export interface Twice {
  readonly steps: number;
  readonly firstLoss: number;
  readonly lastLoss: number;
  readonly seconds: readonly number[];
  readonly bytes: number;
  readonly hashes: readonly string[];
  readonly same: boolean;
}

/** Trains into `out`; returns the seconds that the process took. */
async function train(out: string, flags: readonly string[]): Promise<number> {
  const began = performance.now();
  const words = ["train", "--out", out, "--overwrite", "--knn-every", "0", "--saveckp-freq", "0", "--tensorboard"];
  const running = promisify(execFile)(process.execPath, [join(root, "dino/dino.js"), ...words, ...flags], {
    maxBuffer: 2 ** 26,
  });
  running.child.stderr?.pipe(process.stderr);
  await running;
  return (performance.now() - began) / 1000;
}

/** Reads the tensors of a run's checkpoint, without the header, which names the folder; and the losses of its log. */
async function resultOf(out: string) {
  const { checkpoint, log } = runFiles(out);
  const file = await readFile(checkpoint);
  const tensors = file.subarray(8 + Number(file.readBigUInt64LE(0)));
  const { steps } = await readLog(log);
  const losses = steps.map(({ step, loss }) => [step, loss] as const);
  const hash = createHash("sha256").update(tensors).update(JSON.stringify(losses)).digest("hex");
  return { hash, bytes: tensors.length, losses };
}

async function main([folder, ...flags]: readonly string[]): Promise<void> {
  const outs = ["first", "second"].map((name) => join(folder!, name));
  const seconds: number[] = [];
  for (const out of outs) seconds.push(await train(out, flags));
  const [first, second] = [await resultOf(outs[0]!), await resultOf(outs[1]!)];
  const [start, end] = [first.losses[0]!, first.losses.at(-1)!];
  const same = first.hash === second.hash;
  const found: Twice = {
    ...{ steps: end[0], firstLoss: start[1], lastLoss: end[1], seconds, bytes: first.bytes },
    hashes: [first.hash, second.hash],
    same,
  };
  console.log(JSON.stringify(found));
  if (same) return;
  console.error("two trainings from the same seed differ");
  process.exitCode = 1;
}

await runChild(main);
