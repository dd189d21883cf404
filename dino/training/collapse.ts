/** Live diagnosis of collapse, the two ways of DINO's section 5.3 (https://arxiv.org/abs/2104.14294). */
import type { Config } from "../config/settings.js";

/** What a step says about the targets that the teacher gives. */
export interface CollapseSample {
  readonly step: number;
  readonly loss: number;
  /** Mean entropy of the targets, in nats. */
  readonly teacherEntropy: number;
  /** Entropy of the targets' average, in nats: low when all images get the same target. */
  readonly meanTargetEntropy: number;
}

/** Within this part of ln K a quantity counts as being there. */
const CLOSE = 0.02;

type Kind = "uniform" | "single" | "idle";

/** Steps for which a run must look so before it is warned; many runs stay near ln K for a while at their start. */
const PATIENCE: Readonly<Record<Kind, number>> = { uniform: 60, single: 60, idle: 200 };

/**
 * Watches a run with `prototypes` outputs; returns a warning in words the first time each kind of collapse has lasted, and
 * advice that fits how the teacher is centered.
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
    if (matches.uniform) matches.idle = false; // the more telling of the two
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
