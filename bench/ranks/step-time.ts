/** How long a training step takes on paper, its gradients summed over ranks while the backward still runs. */
import { networkSpecs } from "../../dino/model/network.js";
import { layoutOf } from "../../engine/index.js";
import { forwardFlops, type Sized } from "../steps/scaling.js";
import { networkOf } from "../steps/step.js";

/** What a rank computes, in seconds, and the values that leave it. */
export interface RankStep {
  /** Teacher and student forward. */
  readonly forwardS: number;
  /** Backward through the head, then through the backbone for the local crops, then for the global ones. */
  readonly backwardS: { readonly head: number; readonly locals: number; readonly globals: number };
  /** What cannot begin before all gradients are summed. */
  readonly optimizerS: number;
  /** Values of all gradients, those of the backbone first. */
  readonly values: number;
  readonly backboneValues: number;
}

/** What the time of a rank's own work is made of. */
export interface Speed {
  /** Floating point operations a second over the whole of forward and backward. */
  readonly flopPerS: number;
  /** Of the memory that the optimizer goes over. */
  readonly bytesPerS: number;
}

/** Bytes that the optimizer moves for a value: AdamW reads 16 and writes 12, the teacher's mean 8 and 4, clipping reads 4. */
const OPTIMIZER_BYTES = 44;

/** A rank's own work in a step of this size. */
export function rankStep(size: Sized, { flopPerS, bytesPerS }: Speed): RankStep {
  const { globals, locals } = forwardFlops(size);
  const { entries, size: values } = layoutOf(networkSpecs(networkOf(size)));
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

/** Some gradients that go to the other ranks together. */
export interface Piece {
  readonly bytes: number;
  /** From the start of the step until the last of them is computed. */
  readonly readyS: number;
}

/** How gradients go to the other ranks. */
export interface Sending {
  /** Bytes of f32 that go at a time; Infinity for all at once. */
  readonly pieceBytes: number;
  /** Of a value on the way: 4, or 2 for f16. */
  readonly valueBytes: 2 | 4;
}

/**
 * The pieces in the order they go: from the end of the gradients, where the head is, to their start. The backward comes to the
 * head first. The backbone's gradients are whole only as the backward of the global crops, the last, goes down the blocks.
 */
export function piecesOf(step: RankStep, { pieceBytes, valueBytes }: Sending): readonly Piece[] {
  const { forwardS, backwardS, values, backboneValues } = step;
  const each = Math.min(values, pieceBytes / 4);
  const headS = forwardS + backwardS.head;
  return Array.from({ length: Math.ceil(values / each) }, (_, i) => {
    const end = values - i * each;
    const start = Math.max(0, end - each);
    const passed = Math.max(0, 1 - start / backboneValues); // share of the blocks that the backward has come through
    const readyS = passed === 0 ? headS : headS + backwardS.locals + backwardS.globals * passed;
    return { bytes: (end - start) * valueBytes, readyS };
  });
}

/** Seconds that each stage of the way of a piece takes, by its bytes. */
export interface Stages {
  readonly readBack: (bytes: number) => number;
  readonly sum: (bytes: number) => number;
  readonly upload: (bytes: number) => number;
}

/** When the sum of the last piece is back: each stage takes the pieces one after another, and the stages work side by side. */
export function lastUploadS(pieces: readonly Piece[], { readBack, sum, upload }: Stages): number {
  let [readBackEnd, sumEnd, uploadEnd] = [0, 0, 0];
  for (const { bytes, readyS } of pieces) {
    readBackEnd = Math.max(readBackEnd, readyS) + readBack(bytes);
    sumEnd = Math.max(sumEnd, readBackEnd) + sum(bytes);
    uploadEnd = Math.max(uploadEnd, sumEnd) + upload(bytes);
  }
  return uploadEnd;
}

/** Where the time of a step goes. */
export interface StepTime {
  readonly seconds: number;
  /** In which the GPU has nothing to do but wait for the other ranks. */
  readonly waitS: number;
  /** All that the gradients' way takes, one stage after another; what is more of it than `waitS` is hidden. */
  readonly communicationS: number;
}

/** A step whose gradients go through these stages; undefined where there is one rank, which sends nothing. */
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
