import { choice, flag, number, optional, range, type Setting } from "./setting.js";

const ofWeights = "dino import and --init take it from the file";

/** Settings in which the backbones of DINOv2 and DINOv3 differ from that of DINO, in the order of the help. */
export const backboneSettings = {
  positions: choice(["learned", "rotary"], "learned", {
    unit: "name",
    about: `positions of patches: learned as in DINO and DINOv2, rotary as in DINOv3; ${ofWeights}`,
    source: "dinov3",
  }),
  positionOffset: number(
    0.1,
    { from: 0 },
    {
      unit: "patches",
      about: `added to the grid when learned positions are resampled: 0.1 in DINO and DINOv2, 0 with registers; ${ofWeights}`,
      source: "dinov2",
    },
  ),
  positionAntialias: flag(false, {
    unit: "true|false",
    about: `resamples learned positions with antialias, as DINOv2 with registers does; ${ofWeights}`,
    source: "dinov2",
  }),
  ropeBase: number(
    100,
    { above: 1 },
    {
      unit: "base",
      about: `rotary positions: ratio of the longest period to the shortest; ${ofWeights}`,
      source: "dinov3",
    },
  ),
  ropePeriods: optional(range([1, 100], { above: 0 }, { unit: "low high", about: "", source: "dinov3" }), {
    unit: "low high",
    about: `rotary positions: shortest and longest period, in place of --rope-base; ${ofWeights}`,
    source: "dinov3",
  }),
  ropeNormalize: choice(["separate", "max", "min"], "separate", {
    unit: "name",
    about: `rotary positions: coordinates run from -1 to 1 along each side, the longer (max) or the shorter one (min); ${ofWeights}`,
    source: "dinov3",
  }),
  ffn: choice(["mlp", "swiglu", "packed-swiglu"], "mlp", {
    unit: "name",
    about:
      "layers after attention: an MLP, or SwiGLU as in the largest models, packed in DINOv2; with SwiGLU, an " +
      "--mlp-ratio of 8/3 costs as much as an MLP of 4",
    source: "dinov2",
  }),
  layerScale: optional(number(1e-5, { above: 0 }, { unit: "factor", about: "", source: "dinov2" }), {
    unit: "factor",
    about: "initial factor of each channel of a residual branch; DINOv2 takes 1e-5; auto has no factors, as DINO",
    source: "dinov2",
  }),
  normEpsilon: number(
    1e-6,
    { above: 0 },
    { unit: "epsilon", about: `epsilon of the ViT's layer norms, 1e-5 in DINOv3; ${ofWeights}`, source: "dinov3" },
  ),
  qkvBias: flag(true, {
    unit: "true|false",
    about: `adds a bias to queries, keys and values; false in the ViT-7B of DINOv3; ${ofWeights}`,
    source: "dinov3",
  }),
  maskKeyBias: flag(false, {
    unit: "true|false",
    about: `takes the bias of keys as 0, as DINOv3 does; ${ofWeights}`,
    source: "dinov3",
  }),
  maskToken: choice(["none", "optional", "always"], "none", {
    unit: "name",
    about:
      "a learnt token in place of masked patches: optional has no gradient without masks, as in DINOv2, always has one " +
      `of 0, as in DINOv3; ${ofWeights}`,
    source: "dinov2",
  }),
  clsNorm: flag(false, {
    unit: "true|false",
    about: `a final norm of its own for cls token and registers; ${ofWeights}`,
    source: "dinov3",
  }),
  localClsNorm: flag(false, {
    unit: "true|false",
    about: `a final norm of its own for cls token and registers of local crops; ${ofWeights}`,
    source: "dinov3",
  }),
  uniformDropPath: flag(false, {
    unit: "true|false",
    about: "applies --drop-path-rate to all blocks alike, as DINOv2 does, in place of a linear rise",
    source: "dinov2",
  }),
} as const satisfies Record<string, Setting<unknown>>;
