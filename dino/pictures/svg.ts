/** SVG elements for pictures composed of images, frames and text. */
import type { Image } from "../images/pixels.js";
import { asPicture } from "./drawing.js";
import { encodePng } from "./png.js";

type Attributes = Readonly<Record<string, string | number>>;

/** Builds an element; `content` is SVG. */
export function element(name: string, attributes: Attributes, content = ""): string {
  const written = Object.entries(attributes).map(([key, value]) => ` ${key}="${escapeXml(String(rounded(value)))}"`);
  return `<${name}${written.join("")}>${content}</${name}>`;
}

export interface TextStyle {
  readonly size: number;
  readonly color: string;
  readonly weight?: "bold";
  /** The end of the text at `x`; default "start". */
  readonly anchor?: "start" | "middle" | "end";
}

/** Builds a line of text with its baseline at `y`. */
export function svgText(words: string, at: { readonly x: number; readonly y: number }, style: TextStyle): string {
  const { size, color, weight = "normal", anchor = "start" } = style;
  const attributes = { ...at, "font-size": size, fill: color, "font-weight": weight, "text-anchor": anchor };
  return element("text", attributes, escapeXml(words));
}

/** Builds the lines below a picture, the first with its baseline at `y`; `bottom` is the end of the picture. */
export function svgCaption(
  caption: readonly string[],
  { x, y }: { readonly x: number; readonly y: number },
): { readonly lines: readonly string[]; readonly bottom: number } {
  const lines = caption.map((line, i) => svgText(line, { x, y: y + 18 * i }, { size: 12, color: ink.quiet }));
  return { lines, bottom: y + 18 * caption.length };
}

/** Builds a square image. */
export function square(image: Image, at: { readonly x: number; readonly y: number; readonly side: number }): string {
  const { x, y, side } = at;
  const png = Buffer.from(encodePng(asPicture(image))).toString("base64");
  return element("image", { x, y, width: side, height: side, href: `data:image/png;base64,${png}` });
}

/** Builds an SVG file with a white background. */
export function svgFile(width: number, height: number, content: readonly string[]): string {
  const size = { width, height, viewBox: `0 0 ${width} ${height}` };
  const paper = element("rect", { width, height, fill: "#ffffff" });
  const attributes = { xmlns: "http://www.w3.org/2000/svg", ...size, "font-family": "DejaVu Sans" };
  return element("svg", attributes, [paper, ...content].join("\n"));
}

/** Formats a colour as "#rrggbb". */
export function hex(color: readonly number[]): string {
  return `#${color.map((channel) => Math.round(channel).toString(16).padStart(2, "0")).join("")}`;
}

/** Colours shared by all pictures. */
export const ink = { text: "#1c2026", quiet: "#5f6670", line: "#cdd1d6" } as const;

function rounded(value: string | number): string | number {
  return typeof value === "number" ? Number(value.toFixed(2)) : value;
}

function escapeXml(words: string): string {
  return words.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
