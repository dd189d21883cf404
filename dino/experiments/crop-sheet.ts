/** A sheet of images beside the crops that training makes of them. */
import { type AugmentOptions, applyCropU8, type CropParameters, drawCrops } from "../images/augment.js";
import { asColors } from "../images/formats/samples.js";
import { type DecodeFailure, isFailure, type ShownChannels } from "../images/image-location.js";
import type { Image } from "../images/pixels.js";
import { evenSample, type Subset } from "../images/split.js";
import type { Picture } from "../pictures/drawing.js";
import { contactSheet, type SheetCell, type SheetRow } from "../retrieval/contact-sheet.js";

export interface CropSheet {
  readonly picture: Picture;
  /** Names of the images on the sheet. */
  readonly names: readonly string[];
  readonly failures: readonly DecodeFailure[];
}

interface CropSheetOptions {
  readonly augment: AugmentOptions;
  readonly seed: number;
  /** Number of images. */
  readonly count: number;
  readonly title: string;
  readonly shown: ShownChannels;
}

/**
 * Draws images spread evenly over a subset, each with the crops of its first epoch under this seed: as the student sees
 * them, but not normalized. They are those made on the CPU, whose blur alone differs from that of a device.
 */
export async function cropSheet(subset: Subset, { count, title, ...options }: CropSheetOptions): Promise<CropSheet> {
  const { images } = subset;
  const spread = evenSample(subset, count);
  const rows: SheetRow[] = [];
  const failures: DecodeFailure[] = [];
  for (const index of spread) {
    const image = await images.decode(index);
    if (isFailure(image)) failures.push(image);
    rows.push(rowOf(images.name(index), image, { ...options, index }));
  }
  return { picture: contactSheet(title, rows), names: spread.map((index) => images.name(index)), failures };
}

function rowOf(
  name: string,
  image: Image | DecodeFailure,
  { augment, seed, shown, index }: Pick<CropSheetOptions, "augment" | "seed" | "shown"> & { readonly index: number },
): SheetRow {
  if (isFailure(image)) return { title: name, lead: { image: undefined, name: "", note: "image" }, cells: [] };
  const cells = drawCrops(augment, { seed, epoch: 0, index }, image).map((crop, n): SheetCell => {
    const { height, width } = crop.box;
    const turn = crop.angle === 0 ? "" : `, ${crop.angle > 0 ? "+" : ""}${Math.round(crop.angle)}`;
    const area = Math.round((100 * height * width) / (image.rows * image.cols));
    const note = `${n < 2 ? `global ${n + 1}` : `local ${n - 1}`}, ${area} %${turn}`;
    return { image: asColors(applyCropU8(image, crop), shown), name: describeCrop(crop), note };
  });
  return {
    title: name,
    lead: { image: asColors(image, shown), name: `${image.cols} x ${image.rows} pixels`, note: "image" },
    cells,
  };
}

/** Names the stages that change a crop besides its turn, in their order, in words short enough for a cell. */
function describeCrop({
  flip,
  flipVertical,
  jitter,
  grayscale,
  blurRadius,
  solarizeThreshold,
}: CropParameters): string {
  return [
    ...(flip || flipVertical ? [`${flip ? "h" : ""}${flipVertical ? "v" : ""}flip`] : []),
    ...(jitter.length > 0 ? ["color"] : []),
    ...(grayscale ? ["gray"] : []),
    ...(blurRadius === null ? [] : ["blur"]),
    ...(solarizeThreshold === null ? [] : ["solar"]),
  ].join(" ");
}
