/**
 * Writes a page about a run in one self-contained HTML file: training curves, attention, patch features and nearest
 * neighbours.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import type { Device } from "../../engine/index.js";
import { shownChannels } from "../config/derive.js";
import { flagOf } from "../config/flags.js";
import { type Config, defaultConfig, type SettingName, settingNames } from "../config/settings.js";
import { writeFileAtomically } from "../files/files.js";
import { isFailure, type ShownChannels } from "../images/image-location.js";
import { openSplits } from "../images/sources/open-splits.js";
import type { Subset } from "../images/split.js";
import { normalizeRows, sliceRows } from "../math/feature-rows.js";
import { rng } from "../math/random.js";
import { type Model, viewOf } from "../model/backbone.js";
import { vitConfig } from "../model/configure.js";
import { extractFeatures } from "../model/extract.js";
import { type Chart, chartSvg, type Panel } from "../pictures/charts.js";
import { drawAttention, drawFeatureMap, enlargedView, inspectImages } from "../pictures/close-up.js";
import { asPicture, type Picture } from "../pictures/drawing.js";
import { encodePng } from "../pictures/png.js";
import { nearest } from "../retrieval/nearest.js";
import { readConfig } from "../run/config-file.js";
import { type Log, readLog, type StepLine } from "../run/log.js";
import { collapseWatch } from "../training/collapse.js";
import { loadModel } from "../weights/load-model.js";

export interface ReportOptions {
  readonly device: Device;
  /** Folder of the run. */
  readonly run: string;
  /** Images to show; default: those of the run. */
  readonly data?: string;
  /** The HTML file. */
  readonly out: string;
  readonly onProgress?: (done: number, total: number) => void;
}

/** A written report. */
export interface Report {
  readonly report: string;
  readonly run: string;
  readonly steps: number;
  readonly bytes: number;
  /** Numbers of images with pictures, and of candidates for neighbours. */
  readonly images: number;
  readonly candidates: number;
  /** The reason why pictures are missing, if they are. */
  readonly missing: string | undefined;
}

/** Images with attention and feature maps. */
const INSPECTED = 6;
/** Queries, and neighbours per query. */
const QUERIES = 8;
const NEIGHBOURS = 7;
/** Maximum number of candidates for neighbours. */
const MAX_CANDIDATES = 2000;
/** Side of a thumbnail, in pixels. */
const THUMBNAIL = 96;

/** Writes the page. Throws if the folder holds no run; the page of a run whose images are gone has no pictures. */
export async function writeReport({ device, run, data, out, onProgress }: ReportOptions): Promise<Report> {
  const [configPath, logPath] = [join(run, "config.json"), join(run, "log.jsonl")];
  if (!existsSync(configPath) || !existsSync(logPath)) {
    throw new Error(`${run}: expected the folder of a run, with config.json and log.jsonl, as dino train writes it`);
  }
  const config = await readConfig(run);
  const log = await readLog(logPath);
  const checkpoint = join(run, "checkpoint.safetensors");
  const shown = await showImages({ device, checkpoint, config, data: data ?? config.data, onProgress });
  const sections = [
    section("Summary", summary(config, log, device.name)),
    section("Training", await curves(config, log)),
    ...("missing" in shown
      ? [section("Pictures", `<p class="note">Left out: ${escape(shown.missing)}</p>`)]
      : shown.sections),
    section("Settings", settingsTable(config)),
  ];
  const html = page(`DINO: ${run}`, sections);
  await writeFileAtomically(out, html);
  const counts =
    "missing" in shown ? { images: 0, candidates: 0, missing: shown.missing } : { ...shown.counts, missing: undefined };
  return { report: out, run, steps: log.steps.at(-1)?.step ?? 0, bytes: Buffer.byteLength(html), ...counts };
}

function summary(config: Config, log: Log, device: string): string {
  const { dim, depth, heads, patch, imageRows, imageCols } = vitConfig(config);
  const last = log.steps.at(-1);
  const { knn } = log.evaluations.findLast((line) => line.knn) ?? {};
  const { linear } = log.evaluations.findLast((line) => line.linear) ?? {};
  const rows: (readonly [string, string])[] = [
    ["images", config.data],
    [
      "network",
      `ViT of ${depth} blocks, ${dim} wide, ${heads} heads, patches of ${patch}, ${imageCols} x ${imageRows} pixels`,
    ],
    ["prototypes", String(config.outDim)],
    ["steps", last === undefined ? "none yet" : String(last.step)],
  ];
  if (last !== undefined) {
    rows.push(["loss", last.loss.toFixed(3)]);
    rows.push([
      "entropy of the targets",
      `${last.teacherEntropy.toFixed(3)} of ln K = ${Math.log(config.outDim).toFixed(3)} nats`,
    ]);
  }
  if (knn !== undefined) rows.push(["k-NN top-1", `${knn.top1.toFixed(2)} %, k ${knn.k}`]);
  if (linear !== undefined) rows.push(["linear top-1", `${linear.top1.toFixed(2)} %, lr ${linear.lr}`]);
  rows.push(["page made on", device]);
  const warnings = warningsOf(config, log);
  return (
    table(rows) +
    (warnings.length > 0
      ? warnings.map((words) => `<p class="warning">${escape(words)}</p>`).join("")
      : `<p class="note">No sign of collapse in the log.</p>`)
  );
}

function warningsOf(config: Config, log: Log): readonly string[] {
  const watch = collapseWatch(config.outDim, config.centering);
  return log.steps.map((line) => watch(line)).filter((words) => words !== undefined);
}

async function curves(config: Config, log: Log): Promise<string> {
  if (log.steps.length === 0) return `<p class="note">The log has no line yet.</p>`;
  const lnK = Math.log(config.outDim);
  const line = (name: string, of: (line: StepLine) => number | null) => ({
    name,
    points: log.steps.map((at) => [at.step, of(at) ?? NaN] as const),
  });
  const panel = (title: string, y: string, ...series: Panel["series"]): Panel => ({ title, x: "step", y, series });
  const panels: Panel[] = [
    panel(
      "Loss",
      "nats",
      line("loss", ({ loss }) => loss),
      ...(config.method === "dino"
        ? []
        : [
            line("CLS tokens", ({ clsLoss }) => clsLoss ?? null),
            line("masked patches", ({ patchLoss }) => patchLoss ?? null),
          ]),
    ),
    {
      ...panel(
        "Entropy and KL divergence",
        "nats",
        line("entropy", ({ teacherEntropy }) => teacherEntropy),
        line("KL divergence", ({ klDivergence }) => klDivergence),
      ),
      marks: [{ y: lnK, label: `ln K = ${lnK.toFixed(2)}` }],
    },
    panel(
      "Spread of the features",
      "0 to 1",
      line("student", ({ studentSpread }) => studentSpread),
      line("teacher", ({ teacherSpread }) => teacherSpread),
    ),
    panel(
      "Length of the gradient",
      "norm",
      line("gradient", ({ gradientNorm }) => gradientNorm),
    ),
    panel(
      "Learning rate",
      "rate",
      line("learning rate", ({ lr }) => lr),
    ),
    panel(
      "Speed",
      "images/s",
      line("images/s", ({ imagesPerSecond }) => imagesPerSecond),
    ),
  ];
  const measured = (["knn", "linear"] as const).map((name) => ({
    name: name === "knn" ? "k-NN" : name,
    points: log.evaluations.flatMap((evaluation) =>
      evaluation[name] ? [[evaluation.step, evaluation[name].top1] as const] : [],
    ),
  }));
  const lines = measured.filter(({ points }) => points.length > 0);
  if (lines.length > 0) {
    const names = lines.map(({ name }) => name).join(" and ");
    panels.unshift({ ...panel(`${names} top-1`, "percent", ...lines), points: true });
  }
  const charts = await Promise.all(panels.map((one) => chartSvg({ title: "", panels: [one] } satisfies Chart)));
  return `<div class="charts">${charts.map((svg) => figure(`data:image/svg+xml;base64,${base64(svg)}`, "curve")).join("")}</div>`;
}

type Shown =
  | { readonly missing: string }
  | { readonly sections: readonly string[]; readonly counts: { readonly images: number; readonly candidates: number } };

interface ShowOptions {
  readonly device: Device;
  readonly checkpoint: string;
  readonly config: Config;
  readonly data: string;
  readonly onProgress: ReportOptions["onProgress"];
}

/** Draws pictures of held-out images, or of training images if none are held out. */
async function showImages({ device, checkpoint, config, data, onProgress }: ShowOptions): Promise<Shown> {
  if (!existsSync(checkpoint)) return { missing: `${checkpoint} does not exist yet` };
  let subset: Subset;
  try {
    const { train, test } = await openSplits(data, config);
    subset = test.indices.length > 0 ? test : train;
  } catch (error) {
    return { missing: `${(error as Error).message}; dino report --data FOLDER shows other images` };
  }
  using model = await loadModel(device, checkpoint);
  const chosen = sampleOf(subset, MAX_CANDIDATES);
  const view = viewOf(config);
  const close = enlargedView(view, view.crop.rows < 128 ? 3 : 2);
  const closeUps = await inspectImages(model, subset.images, Array.from(chosen.subarray(0, INSPECTED)), {
    view: close,
    shown: shownChannels(config),
  });
  if (closeUps.length === 0) return { missing: `none of the first images of ${data} could be decoded` };
  const title = "What the cls token of the last block attends to";
  const named = closeUps.map((one) => ({ ...one, label: subset.images.name(one.index) }));
  const { heads, dim } = model.vit;
  const neighbours = await neighboursOf(model, { images: subset.images, indices: chosen }, onProgress);
  return {
    sections: [
      section("Attention", pictureOf(drawAttention(named, { heads, title }), "attention of each head")),
      section("Patch features", pictureOf(drawFeatureMap(closeUps, { dim }), "patch features as colours")),
      section("Nearest neighbours", neighbours),
    ],
    counts: { images: closeUps.length, candidates: chosen.length },
  };
}

/** Draws a sample of at most `most` images of a subset; the same for the same subset. */
function sampleOf({ indices }: Subset, most: number): Int32Array {
  const order = rng({ seed: 0, purpose: "report" }).permutation(indices.length);
  return Int32Array.from(order.subarray(0, most), (at) => indices[at]!);
}

/** Draws a row of thumbnails per query: the query, then its nearest neighbours by cosine similarity. */
async function neighboursOf(
  model: Model,
  { images, indices }: Subset,
  onProgress: ReportOptions["onProgress"],
): Promise<string> {
  const view = viewOf(model.config);
  const extracted = await extractFeatures(model, images, { view, indices, ...(onProgress && { onProgress }) });
  const features = normalizeRows(extracted.features);
  const queries = sliceRows(features, 0, Math.min(QUERIES, features.rows));
  const found = await nearest({ queries, index: features, k: NEIGHBOURS + 1 });
  const lines: string[] = [];
  for (const [query, neighbours] of found.entries()) {
    const others = neighbours.filter(({ row }) => row !== query).slice(0, NEIGHBOURS);
    const cells = [{ row: query, similarity: undefined }, ...others].map(async ({ row, similarity }) => {
      const index = extracted.indices[row]!;
      const caption = similarity?.toFixed(3) ?? "query";
      return figure(await thumbnail(images, index, shownChannels(model.config)), images.name(index), caption);
    });
    lines.push(`<div class="row">${(await Promise.all(cells)).join("")}</div>`);
  }
  return `<p class="note">By cosine similarity of the cls features, among ${features.rows} images.</p>${lines.join("")}`;
}

async function thumbnail(images: Subset["images"], index: number, shown: ShownChannels): Promise<string> {
  const image = await images.decode(index);
  if (isFailure(image)) throw new Error(`${image.path}: could be decoded before, but not now: ${image.reason}`);
  const { width: cols, height: rows, rgb: pixels } = asPicture(image, shown);
  const small = await sharp(pixels, { raw: { width: cols, height: rows, channels: 3 } })
    .resize(THUMBNAIL, THUMBNAIL, { fit: "cover", kernel: rows < THUMBNAIL ? "nearest" : "lanczos3" })
    .webp({ quality: 80 })
    .toBuffer();
  return `data:image/webp;base64,${small.toString("base64")}`;
}

function settingsTable(config: Config): string {
  const rows = settingNames.map((name: SettingName): readonly [string, string] => {
    const value = JSON.stringify(config[name]);
    return [flagOf(name), value === JSON.stringify(defaultConfig[name]) ? value : `${value} *`];
  });
  return `<details><summary>All settings; * marks values other than the default</summary>${table(rows)}</details>`;
}

function pictureOf(picture: Picture, words: string): string {
  return figure(`data:image/png;base64,${Buffer.from(encodePng(picture)).toString("base64")}`, words);
}

function figure(source: string, words: string, caption?: string): string {
  const below = caption === undefined ? "" : `<figcaption>${escape(caption)}</figcaption>`;
  return `<figure><img src="${source}" alt="${escape(words)}" title="${escape(words)}">${below}</figure>`;
}

function table(rows: readonly (readonly [string, string])[]): string {
  const lines = rows.map(([name, value]) => `<tr><th>${escape(name)}</th><td>${escape(value)}</td></tr>`);
  return `<table>${lines.join("")}</table>`;
}

function section(title: string, html: string): string {
  return `<section><h2>${escape(title)}</h2>${html}</section>`;
}

function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64");
}

function escape(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replaceAll(/[&<>"']/g, (character) => entities[character]!);
}

const STYLE = `
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 0 auto; padding: 16px; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } th { text-align: left; font-weight: 500; padding: 2px 16px 2px 0; vertical-align: top; }
td { overflow-wrap: anywhere; } figure { margin: 0; } img { max-width: 100%; height: auto; border-radius: 4px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 12px; }
.row { display: grid; grid-template-columns: repeat(auto-fill, ${THUMBNAIL}px); gap: 8px; margin: 8px 0; }
.row figure:first-child img { outline: 3px solid #1f77b4; } figcaption { font-size: 12px; text-align: center; }
.note { opacity: 0.75; } .warning { border-left: 4px solid #d62728; padding-left: 12px; }
`;

function page(title: string, sections: readonly string[]): string {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title><style>${STYLE}</style></head>
<body><main><h1>${escape(title)}</h1>
${sections.join("\n")}
</main></body>
</html>
`;
}
