/** Model of the time of a training step whose gradients are summed over ranks during the backward. */
import { networkConfig } from "../../dino/model/configure.js";
import { networkSpecs } from "../../dino/model/network.js";
import { layoutOf } from "../../engine/index.js";
import { forwardFlops, type Sized } from "../steps/scaling.js";
import { settingsOf } from "../steps/step.js";

/** Compute times of a rank in seconds, and the number of gradient values that it sends. */
export interface RankStep {
  /** Teacher and student forward. */
  readonly forwardS: number;
  /** Backward through the head, then through the backbone for the local crops, then for the global ones. */
  readonly backwardS: { readonly head: number; readonly locals: number; readonly globals: number };
  /** Optimizer, which starts after all gradients are summed. */
  readonly optimizerS: number;
  /** Number of gradient values, those of the backbone first. */
  readonly values: number;
  readonly backboneValues: number;
}

/** Compute speed of a rank. */
export interface Speed {
  /** Floating point operations a second over the whole of forward and backward. */
  readonly flopPerS: number;
  /** Memory bandwidth of the optimizer. */
  readonly bytesPerS: number;
}

/** Bytes that the optimizer moves per value: AdamW reads 16 and writes 12, the teacher's mean 8 and 4, clipping reads 4. */
const OPTIMIZER_BYTES = 44;

/** Returns the compute times of a rank for a step size. */
export function rankStep(size: Sized, { flopPerS, bytesPerS }: Speed): RankStep {
  const { globals, locals } = forwardFlops(size);
  const { entries, size: values } = layoutOf(networkSpecs(networkConfig(settingsOf(size))));
  const backboneValues = entries.find(({ name }) => name.startsWith("head."))!.offset;
  return {
    forwardS: (2 * (globals.backbone + globals.head) + locals.backbone + locals.head) / flopPerS,
    backwardS: {
      head: (2 * (globals.head + locals.head)) / flopPerS,
      locals: (2 * locals.backbone) / flopPerS,
      globals: (2 * globals.backbone) / flopPerS,
    },
    optimizerS: (OPTIMIZER_BYTES * values) / bytesPerS,
    values,
    backboneValues,
  };
}

/** Gradients that are sent together. */
export interface Piece {
  readonly bytes: number;
  /** Time from the start of the step until all of them are computed. */
  readonly readyS: number;
}

/** Ways to send gradients to other ranks. */
export interface Sending {
  /** f32 bytes per piece; Infinity for one piece. */
  readonly pieceBytes: number;
  /** Bytes per value in transfer: 4, or 2 for f16. */
  readonly valueBytes: 2 | 4;
}

/**
 * Returns the pieces in the order of sending: from the end of the gradients, where the head is, to their start. The backward
 * starts with the head. The backbone's gradients are complete only in the backward of the global crops, which comes last.
 */
export function piecesOf(step: RankStep, { pieceBytes, valueBytes }: Sending): readonly Piece[] {
  const { forwardS, backwardS, values, backboneValues } = step;
  const each = Math.min(values, pieceBytes / 4);
  const headS = forwardS + backwardS.head;
  return Array.from({ length: Math.ceil(values / each) }, (_, i) => {
    const end = values - i * each;
    const start = Math.max(0, end - each);
    const passed = Math.max(0, 1 - start / backboneValues); // fraction of the blocks whose backward is done
    const readyS = passed === 0 ? headS : headS + backwardS.locals + backwardS.globals * passed;
    return { bytes: (end - start) * valueBytes, readyS };
  });
}

/** Seconds of each stage of sending a piece, by its bytes. */
export interface Stages {
  readonly readBack: (bytes: number) => number;
  readonly sum: (bytes: number) => number;
  readonly upload: (bytes: number) => number;
}

/** Returns the time when the sum of the last piece is uploaded; the stages form a pipeline over the pieces. */
export function lastUploadS(pieces: readonly Piece[], { readBack, sum, upload }: Stages): number {
  let [readBackEnd, sumEnd, uploadEnd] = [0, 0, 0];
  for (const { bytes, readyS } of pieces) {
    readBackEnd = Math.max(readBackEnd, readyS) + readBack(bytes);
    sumEnd = Math.max(sumEnd, readBackEnd) + sum(bytes);
    uploadEnd = Math.max(uploadEnd, sumEnd) + upload(bytes);
  }
  return uploadEnd;
}

/** Time of a step and its parts. */
export interface StepTime {
  readonly seconds: number;
  /** Time in which the GPU is idle, waiting for other ranks. */
  readonly waitS: number;
  /** Total time of all stages for all pieces; the part beyond `waitS` is hidden by the backward. */
  readonly communicationS: number;
}

/** Predicts a step whose gradients go through the given stages; undefined stages mean one rank, which sends nothing. */
export function stepTime(step: RankStep, sending: Sending, stages: Stages | undefined): StepTime {
  const { forwardS, backwardS, optimizerS } = step;
  const computedS = forwardS + backwardS.head + backwardS.locals + backwardS.globals;
  if (!stages) return { seconds: computedS + optimizerS, waitS: 0, communicationS: 0 };
  const pieces = piecesOf(step, sending);
  const waitS = Math.max(0, lastUploadS(pieces, stages) - computedS);
  const { readBack, sum, upload } = stages;
  const communicationS = pieces.reduce((total, { bytes }) => total + readBack(bytes) + sum(bytes) + upload(bytes), 0);
  return { seconds: computedS + waitS + optimizerS, waitS, communicationS };
}
