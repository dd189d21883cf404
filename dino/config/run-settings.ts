import { flag, number, optional, type Setting, size, whole } from "./setting.js";

/** Settings of evaluation, logs, checkpoints and threads, in the order of the help. */
export const runSettings = {
  heldOut: number(
    0,
    { from: 0, below: 1 },
    { unit: "share", about: "share of the images kept from training for evaluation, such as 0.1", source: "ours" },
  ),
  knnEvery: optional(whole(0, { from: 0 }), {
    unit: "epochs",
    about:
      "epochs between k-NN evaluations, if images have classes; auto evaluates once at the end, on at most 12,000 " +
      "images; 0 disables it; without --held-out, training images are classified by the others",
    source: "ours",
  }),
  linearEvery: whole(
    0,
    { from: 0 },
    {
      unit: "epochs",
      about: "epochs between quick linear evaluations, if images have classes and some are held out; 0 disables them",
      source: "ours",
    },
  ),
  knnK: whole(
    20,
    { from: 1 },
    { unit: "neighbours", about: "number of neighbors that vote in k-NN evaluations", source: "ours" },
  ),
  evalResize: optional(whole(256, { from: 1 }), {
    unit: "pixels",
    about:
      "shorter side of images before evaluation crops their center to --eval-size; at least its longer side, so that " +
      "the crop fits; if left out, 8/7 of that",
    source: "ours",
  }),
  evalSize: optional(size(224, { unit: "pixels", about: "", source: "ours" }), {
    unit: "pixels",
    about:
      "size of the crops that evaluations see, if not --image-size; larger ones often give better features " +
      "(https://arxiv.org/abs/1906.06423)",
    source: "ours",
  }),
  logEvery: whole(10, { from: 1 }, { unit: "steps", about: "steps between lines of log.jsonl", source: "ours" }),
  tensorboard: flag(false, { unit: "true|false", about: "also writes event files for TensorBoard", source: "ours" }),
  picturesEvery: whole(
    0,
    { from: 0 },
    {
      unit: "epochs",
      about:
        "epochs between pictures of attention and patch features of a few held-out images; also profiles the " +
        "tenth step; 0 disables both",
      source: "ours",
    },
  ),
  checkpointEvery: whole(
    0,
    { from: 0 },
    {
      unit: "steps",
      about: "steps between checkpoints, for epochs that take long; 0 saves one per epoch",
      source: "ours",
    },
  ),
  compressGradients: flag(false, {
    unit: "true|false",
    about:
      "halves the bytes exchanged between MPI ranks: gradients are rounded to f16 with a shared exponent per " +
      "64; helps on slow networks",
    source: "ours",
  }),
  verifyRanks: whole(
    0,
    { from: 0 },
    {
      unit: "steps",
      about:
        "steps between byte-wise comparisons of the states of all MPI ranks; 100 finds diverging ranks early; 0 " +
        "disables them",
      source: "ours",
    },
  ),
  saveckpFreq: whole(
    20,
    { from: 0 },
    {
      unit: "epochs",
      about: "epochs between permanent, numbered checkpoints; 0 disables them",
      source: "main_dino.py",
    },
  ),
  threads: optional(whole(4, { from: 1 }), {
    unit: "threads",
    about: "number of threads that make crops; if left out, one per core; raise it if training waits for images",
    source: "main_dino.py",
    alias: "num-workers",
  }),
} as const satisfies Record<string, Setting<unknown>>;
