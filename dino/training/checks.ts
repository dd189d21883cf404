/** Checks settings against images, device and ranks before training. */
import type { Device } from "../../engine/index.js";
import { SettingsError } from "../config/resolve.js";
import type { Config } from "../config/settings.js";
import { checkSplits } from "../evaluation/labelled.js";
import type { Splits } from "../images/split.js";
import { gather } from "../mpi/sharing.js";
import type { World } from "../mpi/world.js";

/** Throws if evaluations are requested and the images have no classes. */
export function checkEvaluations({ knnEvery, linearEvery }: Config, { train, test }: Splits): void {
  const check = (flag: string, splits: Splits): void => {
    try {
      checkSplits(splits);
    } catch (error) {
      throw new Error(`${flag}: ${(error as Error).message}`, { cause: error });
    }
  };
  if (knnEvery !== null && knnEvery > 0) check("--knn-every", { train, test: test.indices.length > 0 ? test : train });
  if (linearEvery > 0) check("--linear-every", { train, test });
}

/** Throws, naming the largest batch that works, if there are fewer training images than a batch has. */
export function checkBatch({ batch, accumulate, data }: Config, { train }: Splits, ranks: number): void {
  const images = train.indices.length;
  if (images >= batch) return;
  const unit = accumulate * ranks; // a batch is a multiple of it
  const largest = Math.floor(images / unit) * unit;
  const way = largest > 0 ? `--batch ${largest} is the largest that works` : "give more images";
  throw new Error(`--batch ${batch} is more than the ${images} training images of --data ${data}; ${way}`);
}

/** Throws if a norm of local crops is to be trained without any. */
export function checkCrops({ localClsNorm, localCropsNumber }: Config): void {
  if (localClsNorm && localCropsNumber === 0)
    throw new SettingsError(
      "--local-crops-number 0 leaves the norm of --local-cls-norm without crops to train on; take some local crops",
    );
}

/** Throws if the device does not support the precision. */
export function checkPrecision({ features, name, faults }: Device, { precision }: Config): void {
  if (precision === "f16" && !features.has("shader-f16"))
    throw new Error(
      `--precision f16: ${name} has no f16 (${faults[0] ?? "shader-f16"}); leave --precision at f32, or take another adapter: dino doctor tells which there are`,
    );
}

/** Throws at rank 0 if ranks have different images. Warns about different devices, since rounding differs. */
export async function checkRanks(
  world: World,
  {
    device,
    splits,
    onWarning,
  }: { readonly device: Device; readonly splits: Splits; readonly onWarning: (line: string) => void },
): Promise<void> {
  if (world.size === 1) return;
  const { train, test } = splits;
  const counts = [train.images.count, train.indices.length, test.indices.length].join(", ");
  const ranks = await gather(world, { counts, device: device.name });
  const differing = (name: "counts" | "device") => ranks.findIndex((rank) => rank[name] !== ranks[0]![name]);
  const [images, devices] = [differing("counts"), differing("device")];
  if (images >= 0) {
    throw new Error(
      `--data: rank ${images} has other images than rank 0 (in all, to train on, held out: ${ranks[images]!.counts} instead of ` +
        `${counts}); give all ranks the same`,
    );
  }
  if (devices >= 0) {
    onWarning(
      `rank ${devices} computes on ${ranks[devices]!.device}, rank 0 on ${device.name}: where they round otherwise, what they train ` +
        "parts little by little; --verify-ranks 100 watches that",
    );
  }
}
