import { MAX_CHANNELS, MAX_PIXELS } from "../images/pixels.js";
import { choice, nameList, number, optional, perChannel, range, type Setting, valueRange, whole } from "./setting.js";

/** Builds a probability that the official code fixes. */
function probability(initial: number, about: string): Setting<number> {
  return number(initial, { from: 0, to: 1 }, { unit: "0 to 1", about, source: "main_dino.py, fixed there" });
}

/** Settings of crops and image order, in the order of the help. */
export const cropSettings = {
  globalCropsScale: range(
    [0.4, 1],
    { above: 0, to: 1 },
    {
      unit: "share",
      about:
        "area of global crops relative to the image; with --local-crops-number 0 use a wider range, " +
        "such as 0.14 1",
      source: "main_dino.py",
    },
  ),
  localCropsNumber: whole(
    8,
    { from: 0 },
    {
      unit: "crops",
      about: "number of local crops per image; more crops give better features but take longer; 0 disables multi-crop",
      source: "main_dino.py",
    },
  ),
  localCropsScale: range(
    [0.05, 0.4],
    { above: 0, to: 1 },
    {
      unit: "share",
      about:
        "area of local crops relative to the image; raise it for small images, of which a small part shows too " +
        "little",
      source: "main_dino.py",
    },
  ),
  cropRatio: range(
    [3 / 4, 4 / 3],
    { above: 0 },
    {
      unit: "width/height",
      about: "range of the aspect ratio of crops before they are resized",
      source: "main_dino.py, fixed there",
    },
  ),
  minContent: number(
    0,
    { from: 0, to: 1 },
    {
      unit: "share",
      about:
        "draws a crop again, up to 10 times, if less of it than this share differs from the background, the median " +
        "color of the image's border; 0.1 avoids empty crops of scans; 0 takes every crop",
      source: "ours",
    },
  ),
  flip: probability(0.5, "probability of a horizontal flip; take 0 if left and right differ in meaning"),
  flipVertical: number(
    0,
    { from: 0, to: 1 },
    {
      unit: "0 to 1",
      about:
        "probability of a vertical flip; take 0.5 if images have no upright direction, as in microscopy and aerial " +
        "photographs",
      source: "ours",
    },
  ),
  quarterTurns: number(
    0,
    { from: 0, to: 1 },
    {
      unit: "0 to 1",
      about:
        "probability of a turn by 90, 180 or 270 degrees, each as likely; 0.75 makes all four directions as likely, " +
        "for images without an upright direction",
      source: "ours",
    },
  ),
  rotation: number(
    0,
    { from: 0, to: 180 },
    {
      unit: "degrees",
      about:
        "turns crops by an angle drawn from -rotation to rotation; 10 to 30 suit crooked scans, 180 images without " +
        "an upright direction; a turned crop stays inside the image, which makes the largest ones smaller",
      source: "ours",
    },
  ),
  jitter: probability(0.8, "probability of color jitter; take 0 if colors are meaningful"),
  brightness: number(
    0.4,
    { from: 0 },
    {
      unit: "strength",
      about: "strength of brightness jitter: the factor is drawn from 1 - strength to 1 + strength; 0 disables it",
      source: "main_dino.py, fixed there",
    },
  ),
  contrast: number(
    0.4,
    { from: 0 },
    {
      unit: "strength",
      about: "strength of contrast jitter: the factor is drawn from 1 - strength to 1 + strength; 0 disables it",
      source: "main_dino.py, fixed there",
    },
  ),
  saturation: number(
    0.2,
    { from: 0 },
    {
      unit: "strength",
      about: "strength of saturation jitter: the factor is drawn from 1 - strength to 1 + strength; 0 disables it",
      source: "main_dino.py, fixed there",
    },
  ),
  hue: number(
    0.1,
    { from: 0, to: 0.5 },
    {
      unit: "turns",
      about: "maximum hue shift in turns of the color circle; 0 disables it",
      source: "main_dino.py, fixed there",
    },
  ),
  grayscale: probability(0.2, "probability of converting a crop to grayscale; take 0 if colors are meaningful"),
  blurGlobal1: probability(1, "probability of blur, first global crop"),
  blurGlobal2: probability(0.1, "probability of blur, second global crop"),
  blurLocal: probability(0.5, "probability of blurring a local crop; take 0 for images below 64 pixels"),
  blurRadius: range(
    [0.1, 2],
    { above: 0 },
    {
      unit: "pixels",
      about: "range of the standard deviation of the blur, in pixels of the crop",
      source: "main_dino.py, fixed there",
    },
  ),
  solarizeGlobal1: probability(0, "probability of solarizing, first global crop"),
  solarizeGlobal2: probability(0.2, "probability of solarizing, second global crop"),
  solarizeLocal: probability(0, "probability of solarizing a local crop"),
  solarizeThreshold: number(
    128,
    { from: 0, to: 256 },
    {
      unit: "0 to 256",
      about: "solarization inverts pixel values at or above this threshold",
      source: "main_dino.py, fixed there",
    },
  ),
  maxPixels: whole(
    MAX_PIXELS,
    { from: 1 },
    {
      unit: "pixels",
      about:
        "skips images with more pixels before decoding them, which protects memory; raise it for very large " +
        "images",
      source: "ours",
    },
  ),
  shortSide: whole(
    0,
    { from: 0 },
    {
      unit: "pixels",
      about:
        "shrinks larger images while they are decoded, so that their shorter side has this many pixels; four times --image-size " +
        "makes large photographs several times faster to read; 0 reads them whole, as the official code does",
      source: "ours",
    },
  ),
  channels: whole(
    3,
    { from: 1, to: MAX_CHANNELS },
    {
      unit: "channels",
      about:
        "channels of the images and of the network's input; with others than red, green and blue, each channel is changed in " +
        "brightness and contrast on its own, and saturation, hue, grayscale and solarization are off",
      source: "ours",
    },
  ),
  channelNames: optional(nameList({ unit: "names", about: "", source: "ours" }), {
    unit: "names",
    about:
      "names of the channels, separated by commas; three channels count as colors only without names, or as red,green,blue; " +
      "pictures show the channels called red, green and blue, or r, g and b, else the first three",
    source: "ours",
  }),
  range: valueRange({
    unit: "low high",
    about:
      "values of black and white in image files: depth takes those of the bit depth, auto the percentiles 0.5 and 99.5 of each " +
      "channel, measured on a few images; or two numbers for all channels, such as 0 4095, or two for each",
    source: "ours",
  }),
  background: choice(["none", "white", "gray", "black"], "none", {
    unit: "color",
    about:
      "color behind transparent pixels; none drops alpha, as the official code, which shows the colors that they hide, often black",
    source: "ours",
  }),
  pages: choice(["images", "channels"], "images", {
    unit: "what",
    about:
      "what the pages of a TIFF file are: images of their own, named scan.tif#1 and so on, or the channels of one image, " +
      "as with fluorescence microscopes",
    source: "ours",
  }),
  tile: whole(
    0,
    { from: 0 },
    {
      unit: "pixels",
      about:
        "cuts image files into tiles of this side while reading, for scans and panoramas; twice --image-size or more " +
        "leaves room for crops; tiled TIFF is fastest; 0 keeps images whole",
      source: "ours",
    },
  ),
  shuffleBuffer: whole(
    0,
    { from: 0 },
    {
      unit: "images",
      about:
        "reads shards one after another and shuffles this many images at a time, which suits slow disks; 10000 is " +
        "a good value; 0 shuffles all",
      source: "ours",
    },
  ),
  cropsOn: choice(["auto", "cpu", "gpu"], "auto", {
    unit: "where",
    about:
      "device that makes crops: cpu is bit-identical to Pillow, gpu is faster; auto uses the GPU unless the " +
      "adapter is software",
    source: "ours",
  }),
  mean: perChannel(
    [0.485, 0.456, 0.406],
    {},
    {
      unit: "red green blue",
      about:
        "mean per channel, subtracted from pixel values in 0 to 1; the default is that of ImageNet for colors, and measured on a " +
        "few images for other channels",
      source: "main_dino.py, fixed there",
    },
  ),
  std: perChannel(
    [0.229, 0.224, 0.225],
    { above: 0 },
    {
      unit: "red green blue",
      about:
        "standard deviation per channel, by which pixel values are divided; the default is found as that of --mean",
      source: "main_dino.py, fixed there",
    },
  ),
} as const satisfies Record<string, Setting<unknown>>;
