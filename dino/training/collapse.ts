/** Detection of collapse during training, in the two forms of DINO's section 5.3 (https://arxiv.org/abs/2104.14294). */
import type { Config } from "../config/settings.js";

/** Statistics of the teacher's targets in a step. */
export interface CollapseSample {
  readonly step: number;
  readonly loss: number;
  /** Mean entropy of the targets, in nats. */
  readonly teacherEntropy: number;
  /** Entropy of the mean target, in nats: low if all images get the same target. */
  readonly meanTargetEntropy: number;
}

/** Relative tolerance, as a share of ln K. */
const CLOSE = 0.02;

type Kind = "uniform" | "single" | "idle";

/** Steps for which a symptom must last before the warning; many runs stay near ln K at the start. */
const PATIENCE: Readonly<Record<Kind, number>> = { uniform: 60, single: 60, idle: 200 };

/**
 * Returns a function that takes samples of a run with `prototypes` outputs and returns a warning the first time each
 * kind of collapse has lasted, with advice that fits the centering.
 */
export function collapseWatch(
  prototypes: number,
  centering: Config["centering"] = "center",
): (sample: CollapseSample) => string | undefined {
  const lnK = Math.log(prototypes);
  const since = new Map<Kind, number>();
  const warned = new Set<Kind>();
  return ({ step, loss, teacherEntropy, meanTargetEntropy }) => {
    const matches: Record<Kind, boolean> = {
      uniform: teacherEntropy > (1 - CLOSE) * lnK,
      single: teacherEntropy < CLOSE * lnK && meanTargetEntropy < 5 * CLOSE * lnK,
      idle: Math.abs(loss - lnK) < CLOSE * lnK,
    };
    if (matches.uniform) matches.idle = false; // uniform is the more specific diagnosis
    for (const kind of Object.keys(matches) as Kind[]) {
      if (!matches[kind]) {
        since.delete(kind);
        continue;
      }
      if (!since.has(kind)) since.set(kind, step);
      if (step - since.get(kind)! < PATIENCE[kind] || warned.has(kind)) continue;
      warned.add(kind);
      return describe(kind, { step, lnK, centering });
    }
    return undefined;
  };
}

interface Situation {
  readonly step: number;
  readonly lnK: number;
  readonly centering: Config["centering"];
}

function describe(kind: Kind, { step, lnK, centering }: Situation): string {
  const limit = `ln K = ${lnK.toFixed(2)}`;
  switch (kind) {
    case "uniform":
      return (
        `collapse at step ${step}: the teacher's targets are uniform (entropy at ${limit}), so there is nothing to learn. ` +
        "Sharpen them: lower --teacher-temp (0.02 to 0.04), or raise --init-std for a narrow network" +
        (centering === "sinkhorn"
          ? "; --centering sinkhorn also makes them so where all images look the same to it"
          : "")
      );
    case "single":
      return (
        `collapse at step ${step}: every image gets the same target (entropy at 0). ` +
        (centering === "sinkhorn"
          ? "Center more: raise --sinkhorn-iterations, --teacher-temp or --momentum-teacher"
          : "Center more: lower --center-momentum (0.9), or raise --teacher-temp or --momentum-teacher")
      );
    case "idle":
      return (
        `step ${step}: the loss stays at ${limit}, so the student has not begun to learn. ` +
        "Common in the first epochs; if it stays, lower --teacher-temp or --out-dim, raise --lr, or set --norm-last-layer false"
      );
    default:
      return kind satisfies never;
  }
}
