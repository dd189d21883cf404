import { choice, flag, number, optional, type Setting, size, textSetting, whole } from "./setting.js";

/** Sizes of the ViT: those of DINO, DINOv2 and DINOv3. */
const archNames = ["vit_tiny", "vit_small", "vit_base", "vit_large", "vit_giant2", "vit_huge2", "vit_7b"] as const;

const arch = choice(archNames, "vit_small", {
  unit: "name",
  about:
    "size of the ViT; larger models need more images, memory and time; vit_giant2 is of DINOv2, vit_huge2 and vit_7b " +
    "are of DINOv3; deit_tiny, deit_small and deit_base are other names of the ViTs",
  source: "main_dino.py",
});

/** Settings of the ViT and the head, in the order of the help. */
export const modelSettings = {
  arch: { ...arch, parse: ([word]) => arch.parse(word === undefined ? [] : [word.replace(/^deit(?=[_-])/, "vit")]) },
  patchSize: whole(
    16,
    { from: 1 },
    {
      unit: "pixels",
      about:
        "side of a patch; smaller patches give better features at a higher cost in memory and time; below 16, f32 " +
        "is more stable than f16",
      source: "main_dino.py",
    },
  ),
  imageSize: size(224, {
    unit: "pixels",
    about: "size of global crops and of the network's input, N or ROWSxCOLS, a multiple of --patch-size",
    source: "main_dino.py, fixed there",
  }),
  localSize: size(96, {
    unit: "pixels",
    about: "size of local crops, N or ROWSxCOLS, a multiple of --patch-size; 3/7 of --image-size works well",
    source: "main_dino.py, fixed there",
  }),
  dim: optional(whole(384, { from: 1 }), {
    unit: "features",
    about: "width of the ViT, a multiple of --heads; overrides --arch",
    source: "vision_transformer.py",
  }),
  depth: optional(whole(12, { from: 1, to: 1000 }), {
    unit: "blocks",
    about: "number of blocks of the ViT; overrides --arch",
    source: "vision_transformer.py",
  }),
  heads: optional(whole(6, { from: 1 }), {
    unit: "heads",
    about: "number of attention heads; overrides --arch; at most 128 features per head",
    source: "vision_transformer.py",
  }),
  freezeBlocks: whole(
    0,
    { from: 0 },
    {
      unit: "blocks",
      about:
        "keeps this many first blocks of the student, and the layers before them, fixed; useful with --init; 0 " +
        "trains all",
      source: "ours",
    },
  ),
  init: optional(textSetting("", { unit: "file", about: "", source: "ours" }), {
    unit: "file",
    about:
      "starts from existing weights: of a run, of `dino import`, or a file that `dino import` reads; positions " +
      "are resampled to --image-size",
    source: "ours",
  }),
  mlpRatio: number(
    4,
    { above: 0 },
    {
      unit: "x width",
      about: "hidden width of the MLPs relative to the width of the ViT",
      source: "vision_transformer.py",
    },
  ),
  initChannels: choice(["mean", "repeat"], "mean", {
    unit: "how",
    about:
      "how --init carries weights for red, green and blue to other --channels: mean gives each channel their mean, repeat gives them " +
      "in turn, both times 3 / channels; a single channel gets their sum",
    source: "ours",
  }),
  initStd: number(
    0.02,
    { above: 0 },
    {
      unit: "std",
      about:
        "standard deviation of the backbone's initial weights, and with --method dinov2 of the heads'; 0.02 suits widths " +
        "from 384; for narrower networks take 1 / sqrt(--dim)",
      source: "vision_transformer.py",
    },
  ),
  dropPathRate: number(
    0.1,
    { from: 0, below: 1 },
    {
      unit: "0 to 1",
      about:
        "stochastic depth rate of the student's last block, rising linearly from 0; take 0 for networks of few " +
        "blocks",
      source: "main_dino.py",
    },
  ),
  registers: whole(
    0,
    { from: 0 },
    {
      unit: "tokens",
      about: "number of register tokens; they give cleaner attention maps of large models; DINOv2 uses 4",
      source: "dinov2",
    },
  ),

  outDim: whole(
    65536,
    { from: 2 },
    {
      unit: "prototypes",
      about:
        "number of prototypes, the output width of the head; large values such as 65536 work well for large, " +
        "complex datasets, fewer for small ones",
      source: "main_dino.py",
    },
  ),
  hiddenDim: whole(
    2048,
    { from: 1 },
    { unit: "features", about: "hidden width of the head's MLP", source: "vision_transformer.py" },
  ),
  bottleneckDim: whole(
    256,
    { from: 1 },
    { unit: "features", about: "width of the head before its last layer", source: "vision_transformer.py" },
  ),
  headLayers: whole(
    3,
    { from: 1, to: 1000 },
    { unit: "layers", about: "number of layers of the head's MLP", source: "vision_transformer.py" },
  ),
  useBnInHead: flag(false, {
    unit: "true|false",
    about: "uses batch normalization in the head; can help small networks in short runs",
    source: "main_dino.py",
  }),
  normLastLayer: flag(true, {
    unit: "true|false",
    about:
      "normalizes the weights of the last layer; false can give better features but is less stable: typically " +
      "false for vit_small, true for vit_base",
    source: "main_dino.py",
  }),
} as const satisfies Record<string, Setting<unknown>>;
