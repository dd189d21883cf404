/**
 * Charts as SVG and PNG, drawn by Vega-Lite in a uniform style; the bundled font makes them identical on every machine.
 */
import { createRequire } from "node:module";
import { Resvg } from "@resvg/resvg-js";
import type { TopLevelSpec } from "vega-lite";
import { writeFileAtomically } from "../files/files.js";

/** One line of a panel. */
export interface Series {
  readonly name: string;
  /** [x, y]; strings are categories in the order given; a y that is not finite is a gap. */
  readonly points: readonly (readonly [number | string, number])[];
  /** [x, low, high] of a band around the line. */
  readonly band?: readonly (readonly [number | string, number, number])[];
}

/** A plot with its own axes. */
export interface Panel {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
  /** Horizontal reference lines. */
  readonly marks?: readonly { readonly y: number; readonly label: string }[];
  /** Draws a point at every value; for series with few values. */
  readonly points?: boolean;
  /** Draws grouped bars with their values instead of lines; every x is a category. */
  readonly bars?: boolean;
}

/** Panels in rows of at most `columns`; lines with the same name have the same colour in all panels. */
export interface Chart {
  readonly title: string;
  readonly panels: readonly Panel[];
  /** Default 3. */
  readonly columns?: number;
}

const FONT = "DejaVu Sans";
const PANEL = { width: 340, height: 240 } as const;
/** PNG pixels per SVG unit. */
const SCALE = 2;

/** Renders a chart as SVG. Throws for a chart without panels. */
export async function chartSvg(chart: Chart): Promise<string> {
  if (chart.panels.length === 0) throw new Error(`chart ${chart.title}: expected at least one panel, got none`);
  const [{ parse, resetSVGDefIds, View }, { compile }] = await Promise.all([import("vega"), import("vega-lite")]); // 0.7 s
  const view = new View(parse(compile(specOf(chart)).spec), { renderer: "none" });
  resetSVGDefIds(); // ids count across all charts of a process
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** Renders an SVG as PNG, with `SCALE` pixels per unit. */
export function svgToPng(svg: string): Uint8Array {
  const fontFiles = ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf"].map((name) =>
    createRequire(import.meta.url).resolve(`dejavu-fonts-ttf/ttf/${name}`),
  );
  const font = { fontFiles, loadSystemFonts: false, defaultFontFamily: FONT };
  return new Resvg(svg, { font, fitTo: { mode: "zoom", value: SCALE }, background: "white" }).render().asPng();
}

/** Writes a chart to `stem`.svg and `stem`.png. */
export async function writeChart(stem: string, chart: Chart): Promise<{ readonly svg: string; readonly png: string }> {
  const svg = await chartSvg(chart);
  const paths = { svg: `${stem}.svg`, png: `${stem}.png` };
  await writeFileAtomically(paths.svg, svg);
  await writeFileAtomically(paths.png, svgToPng(svg));
  return paths;
}

function specOf({ title, panels, columns = 3 }: Chart): TopLevelSpec {
  const names = [...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name)))];
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: { text: title, anchor: "start", fontSize: 15 },
    background: "white",
    padding: 12,
    config: {
      font: FONT,
      axis: { gridColor: "#e4e6ea", labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal" },
      legend: {
        labelFontSize: 11,
        title: null,
        orient: "bottom",
        symbolType: "stroke",
        symbolStrokeWidth: 3,
        symbolOpacity: 1,
      },
      view: { stroke: null },
    },
    columns,
    concat: panels.map((panel) => panelSpec(panel, names)),
  };
}

/** Characters that fit across a panel at the size of its title. */
const TITLE_WIDTH = 56;

/** Breaks a text between words into lines that fit across a panel. */
function wrap(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`;
    if (lines.length > 0 && longer.length <= TITLE_WIDTH) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

function panelSpec(panel: Panel, names: readonly string[]) {
  const { title, marks = [], bars = false } = panel;
  const color: ColorOfNames = {
    field: "name",
    type: "nominal",
    scale: { domain: [...names], scheme: "tableau10" },
    ...(names.length < 2 && { legend: null }),
  };
  const heading = { text: wrap(title), fontSize: 12, fontWeight: "normal" as const };
  const layers = bars ? barsSpec(panel, color) : linesSpec(panel, color);
  return { title: heading, ...PANEL, layer: [...layers, ...(marks.length > 0 ? [rulesSpec(marks)] : [])] };
}

/** Colour encoding by name, the same in all panels. */
interface ColorOfNames {
  readonly field: "name";
  readonly type: "nominal";
  readonly scale: { readonly domain: string[]; readonly scheme: "tableau10" };
  readonly legend?: null;
}

function linesSpec({ x, y, series, points = false }: Panel, color: ColorOfNames) {
  const values = series.flatMap(({ name, points: all }) =>
    all.map(([at, value]) => ({ name, x: at, y: Number.isFinite(value) ? value : null })),
  );
  const places = values.some(({ x: at }) => typeof at === "string")
    ? { type: "ordinal" as const, sort: null, axis: { labelAngle: 0 } }
    : { type: "quantitative" as const, scale: { zero: false } };
  const encodeX = { field: "x", title: x, ...places };
  const scale = { zero: false };
  const line = {
    data: { values },
    mark: { type: "line" as const, point: points, strokeWidth: 2, clip: true },
    encoding: { x: encodeX, y: { field: "y", type: "quantitative" as const, title: y, scale }, color },
  };
  const bands = series.flatMap(({ name, band = [] }) => band.map(([at, low, high]) => ({ name, x: at, low, high })));
  if (bands.length === 0) return [line];
  const band = {
    data: { values: bands },
    mark: { type: "area" as const, opacity: 0.2, clip: true },
    encoding: {
      x: encodeX,
      y: { field: "low", type: "quantitative" as const, title: y, scale },
      y2: { field: "high" },
      color,
    },
  };
  return [band, line];
}

function barsSpec({ x, y, series }: Panel, color: ColorOfNames) {
  const values = series.flatMap(({ name, points }) => points.map(([at, value]) => ({ name, x: `${at}`, y: value })));
  const domainMax = 1.1 * Math.max(...values.map(({ y: value }) => value)); // with room for the labels
  const encoding = {
    x: { field: "x", title: x, type: "ordinal" as const, sort: null, axis: { labelAngle: 0, labelLimit: PANEL.width } },
    xOffset: { field: "name", sort: null },
    y: { field: "y", title: y, type: "quantitative" as const, scale: { domainMax } },
  };
  const label = { type: "text" as const, dy: -6, fontSize: 11, color: "#3b4048" };
  return [
    { data: { values }, mark: { type: "bar" as const }, encoding: { ...encoding, color } },
    { data: { values }, mark: label, encoding: { ...encoding, text: { field: "y", format: ".3~r" } } },
  ];
}

function rulesSpec(marks: NonNullable<Panel["marks"]>) {
  return {
    data: { values: marks.map((mark) => ({ ...mark })) },
    encoding: { y: { field: "y", type: "quantitative" as const } },
    layer: [
      { mark: { type: "rule" as const, strokeDash: [4, 4], color: "#767c85" } },
      {
        mark: {
          type: "text" as const,
          align: "right" as const,
          baseline: "bottom" as const,
          dx: -2,
          dy: -2,
          color: "#767c85",
        },
        encoding: { text: { field: "label" }, x: { value: PANEL.width } },
      },
    ],
  };
}
