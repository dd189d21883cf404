import { choice, flag, number, optional, type Setting, whole } from "./setting.js";

/** Settings of length, batch, schedules, losses and precision, in the order of the help. */
export const optimizationSettings = {
  epochs: whole(
    100,
    { from: 1 },
    { unit: "epochs", about: "length of the run in epochs; schedules stretch over it", source: "main_dino.py" },
  ),
  steps: optional(whole(1000, { from: 1 }), {
    unit: "steps",
    about: "length of the run in steps, instead of --epochs; schedules stretch over it",
    source: "ours",
  }),
  batch: whole(
    64,
    { from: 1 },
    {
      unit: "images",
      about:
        "images per step on all ranks together; the learning rate scales with it; lower it if memory runs out, or " +
        "raise --accumulate",
      source: "main_dino.py",
      alias: "batch-size-per-gpu",
    },
  ),
  accumulate: whole(
    1,
    { from: 1 },
    {
      unit: "parts",
      about:
        "splits a batch into this many parts with one update, which saves memory; batch norm in the head, " +
        "Sinkhorn-Knopp and KoLeo see one part at a time",
      source: "ours",
    },
  ),
  recompute: flag(false, {
    unit: "true|false",
    about: "recomputes the student's blocks during the backward: less memory and the same numbers, but longer steps",
    source: "ours",
  }),
  optimizer: choice(["adamw", "sgd", "lars"], "adamw", {
    unit: "name",
    about: "optimizer; adamw is recommended for ViTs",
    source: "main_dino.py",
  }),
  lr: number(
    0.0005,
    { from: 0 },
    {
      unit: "rate",
      about:
        "peak learning rate, reached after the warm-up, for a batch of 256; scaled linearly with --batch; with --method " +
        "dinov2 for a batch of 1024, scaled by the root; lower it if the loss diverges",
      source: "main_dino.py",
    },
  ),
  warmupEpochs: number(
    10,
    { from: 0 },
    { unit: "epochs", about: "epochs of linear learning rate warm-up; may be a fraction", source: "main_dino.py" },
  ),
  minLr: number(
    1e-6,
    { from: 0 },
    { unit: "rate", about: "learning rate at the end of the cosine schedule", source: "main_dino.py" },
  ),
  weightDecay: number(
    0.04,
    { from: 0 },
    {
      unit: "rate",
      about: "weight decay at the start; for ViTs a small value at the start works well",
      source: "main_dino.py",
    },
  ),
  weightDecayEnd: number(
    0.4,
    { from: 0 },
    {
      unit: "rate",
      about: "weight decay at the end of its cosine schedule; for ViTs a larger value at the end improves the features",
      source: "main_dino.py",
    },
  ),
  clipGrad: number(
    3,
    { from: 0 },
    {
      unit: "norm",
      about:
        "maximum gradient norm of each parameter, with --method dinov2 of the backbone and of each head; 3.0 is typical, " +
        "0.3 to 1.0 can help larger ViTs, 0 disables clipping",
      source: "main_dino.py",
    },
  ),
  freezeLastLayer: whole(
    1,
    { from: 0 },
    {
      unit: "epochs",
      about:
        "epochs during which the last layer stays fixed; one epoch typically helps; raise it if the loss does not " +
        "fall in the first epochs",
      source: "main_dino.py",
    },
  ),
  momentumTeacher: number(
    0.996,
    { from: 0, to: 1 },
    {
      unit: "0 to 1",
      about:
        "momentum of the teacher at the start; higher values suit small batches: 0.9995 is good for a batch of " +
        "256",
      source: "main_dino.py",
    },
  ),
  momentumTeacherEnd: number(
    1,
    { from: 0, to: 1 },
    {
      unit: "0 to 1",
      about:
        "momentum of the teacher at the end of its cosine schedule; in runs of a few hundred steps a value below " +
        "1 keeps the teacher learning",
      source: "main_dino.py, fixed there",
    },
  ),
  centering: choice(["center", "sinkhorn"], "center", {
    unit: "name",
    about:
      "how collapse is avoided: center, the paper's moving average, or sinkhorn, Sinkhorn-Knopp over the global " +
      "crops of a batch, as in DINOv2",
    source: "dinov2",
  }),
  sinkhornIterations: whole(
    3,
    { from: 1 },
    {
      unit: "iterations",
      about: "iterations of --centering sinkhorn; raise it if all images get the same target",
      source: "dinov2",
    },
  ),
  koleo: number(
    0,
    { from: 0 },
    {
      unit: "weight",
      about: "weight of the KoLeo loss, which spreads the features of different images; DINOv2 uses 0.1; 0 disables it",
      source: "dinov2",
    },
  ),
  centerMomentum: number(
    0.9,
    { from: 0, to: 1 },
    {
      unit: "0 to 1",
      about: "momentum of the center; lower it if all images get the same target",
      source: "main_dino.py, fixed there",
    },
  ),
  studentTemp: number(
    0.1,
    { above: 0 },
    {
      unit: "temperature",
      about: "softmax temperature of the student; it should be higher than that of the teacher",
      source: "main_dino.py, fixed there",
    },
  ),
  teacherTemp: number(
    0.04,
    { above: 0 },
    {
      unit: "temperature",
      about:
        "softmax temperature of the teacher after its warm-up; start with 0.04; values above 0.07 are usually " +
        "unstable",
      source: "main_dino.py",
    },
  ),
  warmupTeacherTemp: number(
    0.04,
    { above: 0 },
    {
      unit: "temperature",
      about:
        "softmax temperature of the teacher at the start; 0.04 works in most cases; lower it if the loss does not " +
        "fall",
      source: "main_dino.py",
    },
  ),
  warmupTeacherTempEpochs: whole(
    0,
    { from: 0 },
    {
      unit: "epochs",
      about:
        "epochs of linear warm-up of the teacher temperature; 30 is a good value if --teacher-temp is above " +
        "--warmup-teacher-temp",
      source: "main_dino.py",
    },
  ),
  precision: choice(["f32", "f16"], "f32", {
    unit: "name",
    about:
      "precision of the networks; f16 is mixed precision: less memory, tensor cores; take f32 if the loss is " +
      "unstable or patches are small",
    source: "ours",
  }),
  seed: whole(
    0,
    { from: 0, to: Number.MAX_SAFE_INTEGER },
    {
      unit: "number",
      about: "seed of all random draws; the same seed on the same adapter gives the same bytes",
      source: "main_dino.py",
    },
  ),
} as const satisfies Record<string, Setting<unknown>>;
