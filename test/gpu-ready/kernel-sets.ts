/** Sets of kernels made for GPUs, each with what tests it: rows of the table of operations, or anything else that runs them. */
import { expect } from "chai";
import { createCropMaker } from "../../dino/batches/crop-maker.js";
import type { CropParameters } from "../../dino/images/augment.js";
import { rng } from "../../dino/math/random.js";
import { type Device, download, dryRun, input, sizeOf } from "../../engine/index.js";
import { checkOp, type OpRow } from "../engine/ops/check-op.js";
import { halfRows, matrixRows, rows } from "../engine/ops/op-table.js";
import { withMatricesOf8Played, withTensorCoresPlayed } from "../engine/ops/tensor-cores.js";
import { withCode, withShaders } from "../support/changed-device.js";
import { testDevice } from "../support/device.js";
import { recordShapes } from "./recorded-kernels.js";

// The checks compile more than they compute: lavapipe's compiler takes a third less time where it does not optimize.
process.env["GALLIVM_PERF"] ??= "nopt";

export interface KernelSet {
  readonly name: string;
  /** Rows of fewer than 2^16 elements. */
  readonly rows: readonly OpRow[];
  readonly device: () => Promise<Device>;
}

/** Rows of more elements are left out: each has a smaller twin, and the references take seconds. */
const MOST_ELEMENTS = 2 ** 16;

/** Returns the rows that take a second at most. */
export const small = (table: readonly OpRow[]): readonly OpRow[] =>
  table.filter(({ inputs }) => inputs.every((shape) => sizeOf(shape) < MOST_ELEMENTS));

const gpu = () => testDevice({ kernels: "gpu" });

export const kernelSets: readonly KernelSet[] = [
  { name: "f32", rows: small(rows), device: gpu },
  {
    name: "f32 without subgroups",
    rows: small(rows).filter(({ op }) => /^(softmax|layernorm|addLayernorm|sum|batchNorm|koleo)/.test(op)),
    device: () => testDevice({ kernels: "gpu", without: ["subgroups"] }),
  },
  // without attention, whose kernels do the same in workgroup memory as those in f32, and take long to compile
  { name: "f16", rows: small([...halfRows, ...matrixRows]).filter(({ op }) => !/^attention/.test(op)), device: gpu },
  {
    name: "tensor cores, played",
    rows: matrixRows,
    device: async () => withTensorCoresPlayed(await gpu(), 32),
  },
  {
    name: "matrices of 8 x 8, played",
    rows: small(rows).filter(({ op }) => /^(matmul|linear)/.test(op)),
    device: async () => withMatricesOf8Played(await gpu()),
  },
];

/** A test of kernels; `run` throws where they compute something else. */
export interface Case {
  readonly title: string;
  /** Shader files that it uses. */
  readonly files: ReadonlySet<string>;
  readonly run: (device: Device) => Promise<void>;
}

/** Rows that take other ways through a kernel than their sizes tell. */
const OTHER_WAYS = /^(attention, large scores|topK, (all columns|more candidates than fit))/;

/**
 * Returns cases that use each kernel of a set for which `matters` holds, given its code: of its rows the smallest and the largest,
 * since the time of a check is that of compiling what its rows use, and those that take other ways; in f32 also the making of
 * crops, which is no operation. `variants` makes several rows of one.
 */
export async function casesOf(
  set: KernelSet,
  matters: (code: string) => boolean,
  variants: (row: OpRow) => readonly OpRow[] = (row) => [row],
): Promise<readonly Case[]> {
  const { device } = dryRun(await set.device());
  const users = new Map<string, OpRow[]>();
  const inOrder = set.rows.toSorted((a, b) => elementsOf(a) - elementsOf(b));
  for (const row of inOrder) {
    const watched = withCode(device, (code, kernel) => {
      if (matters(code)) users.set(kernel, [...(users.get(kernel) ?? []), row]);
      return code;
    });
    await recordShapes(watched, row);
  }
  const kept = new Set([...users.values()].flatMap((rowsOfKernel) => [rowsOfKernel[0]!, rowsOfKernel.at(-1)!]));
  for (const row of inOrder) if (OTHER_WAYS.test(row.op)) kept.add(row);
  const cases = set.name === "f32" ? [contrast, contrastOfChannels] : [];
  for (const row of inOrder.filter((each) => kept.has(each)).flatMap(variants)) {
    const files = new Set<string>();
    await recordShapes(
      withShaders(device, (text, file) => (files.add(file), text)),
      row,
    );
    cases.push({ title: row.op, files, run: (on) => checkOp(row, on) });
  }
  return cases;
}

const elementsOf = ({ inputs }: OpRow) => inputs.reduce((sum, shape) => sum + sizeOf(shape), 0);

const contrast: Case = { title: "contrast of a crop", files: new Set(["crop-means"]), run: checkContrast };

const contrastOfChannels: Case = {
  title: "contrast of a crop's channels",
  files: new Set(["crop-channels"]),
  run: (device) => checkContrast(device, false),
};

/** Without contrast every pixel of a crop is the picture's mean luminance, or that of its channel where these are no colors. */
async function checkContrast(device: Device, isRgb = true): Promise<void> {
  const size = { rows: 16, cols: 12 };
  const pixels = size.rows * size.cols;
  const random = rng({ seed: 5, purpose: "contrast" });
  const channels = Array.from({ length: pixels }, () => [0, 1, 2].map(() => random.integer(256)));
  const crop: CropParameters = {
    box: { top: 0, left: 0, height: size.rows, width: size.cols },
    angle: 0,
    size,
    flip: false,
    flipVertical: false,
    jitter: (isRgb ? [{}] : [0, 1, 2].map((channel) => ({ channel }))).map((of) => ({
      adjust: "contrast",
      factor: 0,
      ...of,
    })),
    grayscale: false,
    blurRadius: null,
    solarizeThreshold: null,
  };
  using out = input(device, [1, 3, size.rows, size.cols]);
  using maker = await createCropMaker(device, {
    pictures: 1,
    pixelsPerPicture: pixels,
    groups: [{ crops: 1, out }],
    isRgb,
    mean: [0, 0, 0],
    std: [1 / 255, 1 / 255, 1 / 255],
  });
  maker.write(
    Uint32Array.from(channels, ([red, green, blue]) => red! | (green! << 8) | (blue! << 16)),
    [{ ...size, crops: [crop] }],
  );
  await maker.run();
  const means = [0, 1, 2].map((channel) => channels.reduce((sum, of) => sum + of[channel]!, 0) / pixels);
  const luminance = 0.299 * means[0]! + 0.587 * means[1]! + 0.114 * means[2]!;
  for (const [i, level] of (await download(out)).entries())
    expect(level, "level").to.be.closeTo(isRgb ? luminance : means[Math.floor(i / pixels)]!, 1.5);
}
