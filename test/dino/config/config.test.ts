import { expect } from "chai";
import { backboneSettings } from "../../../dino/config/backbone-settings.js";
import { augmentOptions, evalView } from "../../../dino/config/derive.js";
import { flagOf, parseSetting } from "../../../dino/config/flags.js";
import { presetNames, presets } from "../../../dino/config/presets.js";
import { fitWarmups, formatConfig, parseConfig, resolveConfig, SettingsError } from "../../../dino/config/resolve.js";
import {
  type Config,
  defaultConfig,
  type PartialConfig,
  settingNames,
  settings,
} from "../../../dino/config/settings.js";
import { checkAugmentOptions, evalCrop, officialAugmentation } from "../../../dino/images/augment.js";
import { headConfig, vitConfig } from "../../../dino/model/configure.js";
import { processorSettings } from "../../../dino/weights/export/hugging-face.js";

const wide = { rows: 32, cols: 64 };

describe("config", () => {
  it("draws crops by default as the official code does", () => {
    expect(augmentOptions(defaultConfig)).to.deep.equal(officialAugmentation);
  });

  it("has every default within what its own setting accepts", () => {
    for (const name of settingNames) {
      expect(settings[name].schema.safeParse(defaultConfig[name]).success, name).to.equal(true);
    }
  });

  it("has the defaults of main_dino.py", () => {
    const official = { outDim: 65536, momentumTeacher: 0.996, teacherTemp: 0.04, warmupTeacherTempEpochs: 0 };
    const optimizer = { lr: 0.0005, minLr: 1e-6, weightDecay: 0.04, weightDecayEnd: 0.4, clipGrad: 3, batch: 64 };
    expect(defaultConfig).to.include({ ...official, ...optimizer, arch: "vit_small", patchSize: 16, epochs: 100 });
  });

  it("comes back from its own file", () => {
    for (const preset of presetNames) {
      const config = resolveConfig({ preset });
      expect(parseConfig(formatConfig(config)), preset).to.deep.equal(config);
      checkAugmentOptions(augmentOptions(config));
      expect(config).to.include(presets[preset]);
    }
  });

  it("puts flags above the preset and the preset above the defaults", () => {
    const config = resolveConfig({ preset: "shapes", lr: 0.5 });
    expect(config.lr).to.equal(0.5);
    expect(config.patchSize).to.equal(presets.shapes.patchSize);
    expect(config.optimizer).to.equal("adamw");
  });

  it("lets --epochs replace the steps of a preset", () => {
    expect(resolveConfig({ preset: "shapes", epochs: 3 })).to.include({ epochs: 3, steps: null });
    expect(() => resolveConfig({ epochs: 3, steps: 5 })).to.throw("--steps 5 and --epochs 3 both give the length");
  });

  it("brings the preset made for the built-in images, unless told otherwise", () => {
    expect(resolveConfig({ data: "builtin" })).to.deep.equal(resolveConfig({ preset: "shapes" }));
    expect(resolveConfig({ data: "builtin", preset: null })).to.deep.equal({ ...defaultConfig, data: "builtin" });
    expect(resolveConfig({ data: "photos" })).to.deep.equal({ ...defaultConfig, data: "photos" });
  });

  it("lets flags replace what a preset says in other words", () => {
    expect(resolveConfig({ preset: "shapes", arch: "vit_tiny" })).to.include({ dim: null, depth: null, heads: null });
    expect(resolveConfig({ preset: "shapes", imageSize: { rows: 64, cols: 64 } })).to.include({
      evalResize: null,
      evalSize: null,
    });
  });

  it("sizes the network by --arch, or by what is said instead", () => {
    const config = resolveConfig({
      arch: "vit_tiny",
      depth: 2,
      imageSize: { rows: 32, cols: 64 },
      localCropsNumber: 0,
    });
    expect(vitConfig(config)).to.include({ dim: 192, depth: 2, heads: 3, imageRows: 32, imageCols: 64, channels: 3 });
    expect(headConfig(config)).to.include({ inDim: 192, hidden: 2048, bottleneck: 256, out: 65536, layers: 3 });
  });

  it("describes the backbones of DINOv2 and DINOv3", () => {
    expect(vitConfig(defaultConfig)).to.deep.include({
      positions: { kind: "learned", offset: 0.1, antialias: false },
      untiedNorms: { cls: false, localCls: false },
      ...{ ffn: "mlp", qkvBias: true, maskKeyBias: false, normEpsilon: 1e-6, uniformDropPath: false },
    });
    expect(vitConfig(defaultConfig)).not.to.have.any.keys("layerScale", "maskToken");
    const giant = { arch: "vit_giant2", ffn: "packed-swiglu", layerScale: 1e-5, maskToken: "optional" } as const;
    const resampled = { positionOffset: 0, positionAntialias: true, uniformDropPath: true };
    expect(vitConfig(resolveConfig({ ...giant, ...resampled }))).to.deep.include({
      ...{ dim: 1536, depth: 40, heads: 24, ffn: "packed swiglu", layerScale: 1e-5, maskToken: "optional" },
      positions: { kind: "learned", offset: 0, antialias: true },
      uniformDropPath: true,
    });
    const rotary = { arch: "vit_7b", positions: "rotary", ropeNormalize: "min", qkvBias: false } as const;
    const norms = { normEpsilon: 1e-5, maskKeyBias: true, localClsNorm: true };
    const expected = { dim: 4096, heads: 32, qkvBias: false, normEpsilon: 1e-5, maskKeyBias: true };
    expect(vitConfig(resolveConfig({ ...rotary, ...norms }))).to.deep.include({
      ...expected,
      positions: { kind: "rotary", periods: { base: 100 }, normalize: "min" },
      untiedNorms: { cls: false, localCls: true },
    });
    expect(vitConfig(resolveConfig({ ...rotary, ropePeriods: [1, 50] })).positions).to.deep.include({
      periods: { min: 1, max: 50 },
    });
  });

  it("evaluates as the official code does, 256 pixels for 224", () => {
    expect(evalView(defaultConfig)).to.deep.equal({ resize: 256, crop: { rows: 224, cols: 224 } });
    const larger = resolveConfig({ evalSize: { rows: 448, cols: 672 } });
    expect(evalView(larger)).to.deep.equal({ resize: 768, crop: { rows: 448, cols: 672 } });
  });

  it("evaluates images of any shape in crops of any shape, exported ones too", () => {
    for (const imageSize of [wide, { rows: 64, cols: 32 }, { rows: 32, cols: 32 }]) {
      const config = resolveConfig({ imageSize, localSize: { rows: 16, cols: 16 }, patchSize: 8 });
      for (const [rows, cols] of [
        [40, 40],
        [200, 30],
        [30, 200],
      ] as const) {
        const image = { rows, cols, pixels: new Uint8Array(rows * cols * 3) };
        const crop = evalCrop(image, { ...evalView(config), mean: config.mean, std: config.std });
        expect(crop).to.have.lengthOf(3 * imageSize.rows * imageSize.cols);
      }
      expect(processorSettings(config)).to.deep.include({
        size: { shortest_edge: Math.round((Math.max(imageSize.rows, imageSize.cols) * 8) / 7) },
        crop_size: { height: imageSize.rows, width: imageSize.cols },
      });
    }
  });

  const parsed: readonly (readonly [keyof Config, readonly string[], unknown])[] = [
    ["patchSize", ["8"], 8],
    ["imageSize", ["32"], { rows: 32, cols: 32 }],
    ["imageSize", ["32x48"], { rows: 32, cols: 48 }],
    ["arch", ["vit-tiny"], "vit_tiny"],
    ["globalCropsScale", ["0.4", "1"], [0.4, 1]],
    ["globalCropsScale", ["0.4,1"], [0.4, 1]],
    ["mean", ["0.5,0.5,0.5"], [0.5, 0.5, 0.5]],
    ["normLastLayer", [], true],
    ["normLastLayer", ["False"], false],
    ["lr", ["1e-3"], 0.001],
    ["warmupEpochs", ["0.5"], 0.5],
    ["threads", ["auto"], null],
    ["precision", ["F16"], "f16"],
    ["accumulate", ["4"], 4],
    ["recompute", [], true],
    ["arch", ["vit-giant2"], "vit_giant2"],
    ["positions", ["rotary"], "rotary"],
    ["positionOffset", ["0"], 0],
    ["ropeBase", ["1000"], 1000],
    ["ropePeriods", ["1", "50"], [1, 50]],
    ["ropePeriods", ["auto"], null],
    ["ropeNormalize", ["max"], "max"],
    ["ffn", ["packed_swiglu"], "packed-swiglu"],
    ["layerScale", ["1e-5"], 1e-5],
    ["layerScale", ["auto"], null],
    ["normEpsilon", ["1e-5"], 1e-5],
    ["qkvBias", ["false"], false],
    ["maskToken", ["always"], "always"],
    ["flipVertical", ["0.5"], 0.5],
    ["quarterTurns", ["0.75"], 0.75],
    ["rotation", ["30"], 30],
    ["minContent", ["0.1"], 0.1],
    ["preset", ["auto"], "auto"],
    ["preset", ["VIT_S16"], "vit-s16"],
    ["preset", ["none"], null],
  ];
  for (const [name, words, value] of parsed) {
    it(`reads ${flagOf(name)} ${words.join(" ")}`, () => {
      expect(parseSetting(name, words)).to.deep.equal(value);
    });
  }

  const refused: readonly (readonly [keyof Config, readonly string[], string])[] = [
    ["patchSize", ["five"], "--patch-size: expected a whole number of 1 or more, got five"],
    ["patchSize", ["0"], "--patch-size: expected a whole number of 1 or more, got 0"],
    ["accumulate", ["0"], "--accumulate: expected a whole number of 1 or more, got 0"],
    ["batch", ["2.5"], "--batch: expected a whole number of 1 or more, got 2.5"],
    ["lr", [""], "--lr: expected a number of 0 or more, got "],
    ["imageSize", ["32x"], "--image-size: expected a number of pixels, or ROWSxCOLS, got 32x"],
    ["arch", ["resnet50"], "--arch: expected one of vit_tiny, vit_small, vit_base, vit_large, vit_"],
    ["positions", ["sine"], "--positions: expected one of learned, rotary, got sine"],
    ["positionOffset", ["-1"], "expected a number of 0 or more, got -1"],
    ["ropeBase", ["1"], "expected a number above 1, got 1"],
    ["ropePeriods", ["5", "1"], "the lower one first, or auto, got 5 1"],
    ["ropeNormalize", ["mean"], "expected one of separate, max, min"],
    ["ffn", ["relu"], "expected one of mlp, swiglu, packed-swiglu, got relu"],
    ["layerScale", ["0"], "--layer-scale: expected a number above 0, or auto, got 0"],
    ["normEpsilon", ["0"], "--norm-epsilon: expected a number above 0, got 0"],
    ["maskToken", ["yes"], "expected one of none, optional, always, got yes"],
    ["globalCropsScale", ["1", "0.4"], "the lower one first, got 1 0.4"],
    ["globalCropsScale", ["0.4"], "expected two numbers"],
    ["mean", ["0.5", "gray"], "expected a number for each channel, got 0.5 gray"],
    ["std", ["0.5,0,1"], "expected a number above 0 for each channel"],
    ["channels", ["0"], "--channels: expected a whole number from 1 to 256, got 0"],
    ["channelNames", ["red,,blue"], "expected a name for each channel, separated by commas"],
    ["range", ["4095", "0"], "expected depth, auto, or two numbers, the lower one first"],
    ["range", ["0", "1", "2"], "expected depth, auto, or two numbers"],
    ["range", ["12-bit"], "expected depth, auto, or two numbers"],
    ["dropPathRate", ["1"], "expected a number from 0 to below 1, got 1"],
    ["precision", ["bf16"], "--precision: expected one of f32, f16, got bf16"],
    ["flipVertical", ["2"], "--flip-vertical: expected a number from 0 to 1, got 2"],
    ["quarterTurns", ["-1"], "--quarter-turns: expected a number from 0 to 1, got -1"],
    ["rotation", ["181"], "--rotation: expected a number from 0 to 180, got 181"],
    ["minContent", ["1.5"], "--min-content: expected a number from 0 to 1, got 1.5"],
    ["optimizer", ["adam"], "expected one of adamw, sgd, lars"],
    ["normLastLayer", ["maybe"], "expected true or false, got maybe"],
    ["preset", ["shape"], "expected one of shapes, "],
    ["preset", [], "vit-b8, auto, none, got the flag alone"],
  ];
  for (const [name, words, message] of refused) {
    it(`refuses ${flagOf(name)} ${words.join(" ")}`, () => {
      expect(() => parseSetting(name, words)).to.throw(message);
    });
  }

  it("has no changes of color by default for other channels than red, green and blue", () => {
    const off = { saturation: 0, hue: 0, grayscale: 0, solarizeGlobal2: 0 };
    const five = resolveConfig({ channels: 5 });
    expect(five).to.include({ ...off, brightness: 0.4, contrast: 0.4 });
    expect(five.mean).to.have.length(5);
    expect(augmentOptions(five)).to.deep.include({ isRgb: false, mean: five.mean });
    checkAugmentOptions(augmentOptions(five));
    expect(resolveConfig({ channels: 3, channelNames: ["DAPI", "GFP", "RFP"] })).to.include(off);
    for (const channelNames of [
      ["red", "green", "blue"],
      ["R", "G", "B"],
    ]) {
      const named = resolveConfig({ channelNames });
      expect(named).to.include({ saturation: 0.2, hue: 0.1, grayscale: 0.2, solarizeGlobal2: 0.2 });
      expect(augmentOptions(named).isRgb).to.equal(true);
    }
    expect(resolveConfig({ channels: 1, solarizeGlobal2: 0.5 }).solarizeGlobal2).to.equal(0.5);
    const measured = { mean: [0.4], std: [0.1], range: [5, 9] };
    expect(resolveConfig({ channels: 1, range: "auto" }, { measured })).to.deep.include(measured);
    expect(resolveConfig({ channels: 1, mean: [0.3] }, { measured })).to.deep.include({ mean: [0.3], std: [0.1] });
    expect(() => resolveConfig({ channels: 2, channelNames: ["a", "a"] })).to.throw(
      "expected different names, got a,a",
    );
  });

  it("names both settings that contradict each other", () => {
    const side = (pixels: number) => ({ rows: pixels, cols: pixels });
    const small = { imageSize: side(32), localSize: side(16), patchSize: 8 };
    expect(() => resolveConfig({ ...small, patchSize: 5 })).to.throw("--patch-size 5 does not divide --image-size 32");
    expect(() => resolveConfig({ ...small, localSize: side(20) })).to.throw(
      "--patch-size 8 does not divide --local-size 20",
    );
    expect(() => resolveConfig({ ...small, evalSize: side(20) })).to.throw(
      "--patch-size 8 does not divide --eval-size 20",
    );
    resolveConfig({ ...small, localSize: side(20), localCropsNumber: 0 });
    expect(() => resolveConfig({ dim: 100, heads: 3 })).to.throw("--heads 3 does not divide --dim 100");
    expect(() => resolveConfig({ dim: 512, heads: 2 })).to.throw("at most 128");
    expect(() => resolveConfig({ dim: 36, heads: 6, positions: "rotary" })).to.throw("over --heads 6 is 6 a head");
    expect(() => resolveConfig({ accumulate: 3 })).to.throw("--accumulate 3 does not divide --batch 64");
    expect(() => resolveConfig({ koleo: 0.1, batch: 4, accumulate: 4 })).to.throw("--koleo 0.1 parts images");
    expect(() => resolveConfig({ evalResize: 100 })).to.throw("--eval-resize 100 is smaller than --image-size 224");
    expect(() => resolveConfig({ ...small, evalSize: side(40), evalResize: 36 })).to.throw(
      "--eval-resize 36 is smaller than --eval-size 40",
    );
    expect(() => resolveConfig({ ...small, imageSize: wide, evalResize: 40 })).to.throw(
      "--eval-resize 40 is smaller than --image-size 32x64",
    );
    expect(() => resolveConfig({ data: "photos", linearEvery: 1 })).to.throw("--held-out");
    expect(() => resolveConfig({ data: "photos", linearEvery: 2 })).to.throw("--linear-every 2 needs images");
  });

  it("has the defaults of DINOv2's code with that method, and refuses what does not go with it", () => {
    const config = resolveConfig({ method: "dinov2" });
    expect(config).to.include({ lr: 0.004, teacherTemp: 0.07, momentumTeacher: 0.992, layerDecay: 0.9, koleo: 0.1 });
    expect(config).to.include({ layerScale: 1e-5, dropPathRate: 0.3, uniformDropPath: true, normLastLayer: false });
    expect(config).to.deep.include({
      maskRatio: [0.1, 0.5],
      globalCropsScale: [0.32, 1],
      localCropsScale: [0.05, 0.32],
    });
    expect(resolveConfig({ method: "dinov2", preset: "shapes" })).to.include({ useBnInHead: false, layerScale: null });
    const contradictions: readonly (readonly [PartialConfig, string])[] = [
      [{ ibot: 2 }, "--ibot has no effect without --method dinov2"],
      [{ separateHead: false }, "--separate-head has no effect without --method dinov2"],
      [
        { method: "dinov2", optimizer: "sgd" },
        "--method dinov2 does not go with --optimizer sgd; it trains with adamw",
      ],
      [{ method: "dinov2", useBnInHead: true }, "does not go with --use-bn-in-head"],
      [{ method: "dinov2", normLastLayer: true }, "does not go with --norm-last-layer"],
      [{ method: "dinov2", maskToken: "none" }, "does not go with --mask-token none; take optional, or always"],
      [{ method: "dinov2", batch: 2, maskProbability: 0.2 }, "--mask-probability 0.2 masks none of the 4 global crops"],
      [{ method: "dinov2", imageSize: { rows: 16, cols: 16 } }, "--mask-ratio 0.1 0.5 masks none of the 1 patches"],
    ];
    for (const [flags, message] of contradictions)
      expect(() => resolveConfig(flags), message).to.throw(SettingsError, message);
  });

  it("reads the file of a run from before some settings, which are off then", () => {
    const config = resolveConfig({ preset: "shapes" });
    const { registers, koleo, centering, sinkhornIterations, freezeBlocks, init, linearEvery, evalSize, ...later } =
      config;
    const { flipVertical, quarterTurns, rotation, minContent, ...earlier } = later;
    expect(parseConfig(JSON.stringify(earlier))).to.deep.equal({ ...config, evalSize: null });
    expect(evalSize).to.deep.equal({ rows: 40, cols: 40 });
    expect([sinkhornIterations, freezeBlocks, init, linearEvery]).to.deep.equal([3, 0, null, 0]);
    expect([flipVertical, quarterTurns, rotation, minContent]).to.deep.equal([0, 0, 0, 0]);
    expect({ registers, koleo, centering }).to.deep.equal({ registers: 0, koleo: 0, centering: "center" });
    expect(() => parseConfig(JSON.stringify({ ...earlier, registers: -1 }))).to.throw(
      "config registers: expected a whole",
    );
  });

  it("reads the file of a run from before the backbones of DINOv2 and DINOv3", () => {
    const config = resolveConfig({ preset: "shapes" });
    const added = new Set(Object.keys(backboneSettings));
    const earlier = Object.fromEntries(Object.entries(config).filter(([name]) => !added.has(name)));
    expect(parseConfig(JSON.stringify(earlier))).to.deep.equal(config);
  });

  it("reads the file of a run from before pages and tiles", () => {
    const config = resolveConfig({ preset: "shapes" });
    const { pages, tile, ...earlier } = config;
    expect({ pages, tile }).to.deep.equal({ pages: "images", tile: 0 });
    expect(parseConfig(JSON.stringify(earlier))).to.deep.equal(config);
    expect([parseSetting("tile", ["512"]), parseSetting("pages", ["channels"])]).to.deep.equal([512, "channels"]);
    expect(() => parseSetting("tile", ["-1"])).to.throw("--tile: expected a whole number of 0 or more, got -1");
    expect(() => parseSetting("pages", ["all"])).to.throw("--pages: expected one of images, channels, got all");
  });

  it("says what is wrong with a file", () => {
    const config = resolveConfig({ preset: "shapes" });
    const { lr, ...withoutLr } = config;
    expect(() => parseConfig("{")).to.throw("config: this is no JSON");
    expect(() => parseConfig("[]")).to.throw("config: expected an object");
    expect(() => parseConfig(JSON.stringify(withoutLr))).to.throw("the setting lr is missing");
    expect(() => parseConfig(JSON.stringify({ ...config, lr: -lr }))).to.throw(
      "config lr: expected a number of 0 or more",
    );
    expect(() => parseConfig(JSON.stringify({ ...config, colour: 1 }))).to.throw("no setting is called colour");
    expect(() => parseConfig(JSON.stringify({ ...config, patchSize: 5 }))).to.throw("does not divide");
  });

  it("shortens a warm-up that is longer than the run, unless it was asked for", () => {
    const config = resolveConfig({ steps: 30, warmupTeacherTempEpochs: 5 });
    const fitted = fitWarmups(config, { iterationsPerEpoch: 10, explicit: new Set() });
    expect(fitted.config).to.include({ warmupTeacherTempEpochs: 0 });
    expect(fitted.config.warmupEpochs).to.be.closeTo(0.3, 1e-12);
    expect(fitted.notes).to.have.length(2);
    expect(fitted.notes[0]).to.include("--warmup-epochs 10 is longer than the run of 30 steps, 3 epochs");
    expect(() => fitWarmups(config, { iterationsPerEpoch: 10, explicit: new Set(["warmupEpochs"]) })).to.throw(
      "--warmup-epochs 10",
    );
    const long = resolveConfig({ epochs: 100 });
    expect(fitWarmups(long, { iterationsPerEpoch: 10, explicit: new Set() })).to.deep.equal({
      config: long,
      notes: [],
    });
  });
});
