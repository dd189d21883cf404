/**
 * Detection of collapse during training, in the two forms of DINO's section 5.3 (https://arxiv.org/abs/2104.14294), and in the
 * losses that DINOv2 adds.
 */
import type { Config } from "../config/settings.js";

/** Statistics of the teacher's targets in a step. */
export interface CollapseSample {
  readonly step: number;
  /** The cross-entropy of DINO; with --method dinov2 the total, of which `clsLoss` and `patchLoss` are parts. */
  readonly loss: number;
  readonly clsLoss?: number | undefined;
  readonly patchLoss?: number | undefined;
  readonly koleo?: number | undefined;
  /** Mean entropy of the targets, in nats. */
  readonly teacherEntropy: number;
  /** Entropy of the mean target, in nats: low if all images get the same target. */
  readonly meanTargetEntropy: number;
}

/** Relative tolerance, as a share of ln K. */
const CLOSE = 0.02;

/** KoLeo loss from which on features count as the same: -log of a distance of 0.007 between unit vectors. */
const CROWDED = 5;

type Kind = "uniform" | "single" | "idle" | "singlePatch" | "idlePatches" | "crowded";

/** Steps for which a symptom must last before the warning; many runs stay near ln K at the start. */
const PATIENCE: Readonly<Record<Kind, number>> = {
  ...{ uniform: 60, single: 60, idle: 200 },
  ...{ singlePatch: 60, idlePatches: 400, crowded: 60 },
};

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
  return ({ step, loss, clsLoss = loss, patchLoss = NaN, koleo = NaN, teacherEntropy, meanTargetEntropy }) => {
    const isIdle = (crossEntropy: number) => Math.abs(crossEntropy - lnK) < CLOSE * lnK;
    const matches: Record<Kind, boolean> = {
      uniform: teacherEntropy > (1 - CLOSE) * lnK,
      single: teacherEntropy < CLOSE * lnK && meanTargetEntropy < 5 * CLOSE * lnK,
      idle: isIdle(clsLoss),
      singlePatch: patchLoss < CLOSE * lnK,
      idlePatches: isIdle(patchLoss),
      crowded: koleo > CROWDED,
    };
    if (matches.uniform) matches.idle = false; // uniform is the more specific diagnosis
    if (matches.uniform || matches.idle) matches.idlePatches = false; // as CLS tokens, which come first
    if (matches.single) matches.crowded = false;
    for (const kind of Object.keys(matches) as Kind[]) {
      if (!matches[kind]) {
        since.delete(kind);
        continue;
      }
      if (!since.has(kind)) since.set(kind, step);
      if (step - since.get(kind)! < PATIENCE[kind] || warned.has(kind)) continue;
      warned.add(kind);
      return describe(kind, { step, lnK, centering, koleo });
    }
    return undefined;
  };
}

interface Situation {
  readonly step: number;
  readonly lnK: number;
  readonly centering: Config["centering"];
  readonly koleo: number;
}

function describe(kind: Kind, { step, lnK, centering, koleo }: Situation): string {
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
    case "singlePatch":
      return (
        `collapse at step ${step}: every masked patch gets the same target (their loss is at 0). ` +
        "Center more: raise --teacher-temp, take --centering sinkhorn, or lower --ibot"
      );
    case "idlePatches":
      return (
        `step ${step}: the loss of masked patches stays at ${limit}, so the student does not learn them. ` +
        "Lower --mask-ratio or --teacher-temp, or take --separate-head"
      );
    case "crowded":
      return (
        `collapse at step ${step}: the features of different images are the same (KoLeo loss at ${koleo.toFixed(1)}, ` +
        `a distance of ${Math.exp(-koleo).toPrecision(1)}). Spread them: raise --koleo, or lower --lr`
      );
    default:
      return kind satisfies never;
  }
}
