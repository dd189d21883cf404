/** Pieces of SVG for pictures that are composed of images, frames and text. */
import type { Image } from "../images/pixels.js";
import { asPicture } from "./drawing.js";
import { encodePng } from "./png.js";

type Attributes = Readonly<Record<string, string | number>>;

/** An element; `content` is SVG already. */
export function element(name: string, attributes: Attributes, content = ""): string {
  const written = Object.entries(attributes).map(([key, value]) => ` ${key}="${escapeXml(String(rounded(value)))}"`);
  return `<${name}${written.join("")}>${content}</${name}>`;
}

export interface TextStyle {
  readonly size: number;
  readonly color: string;
  readonly weight?: "bold";
  /** Which end of the text is at `x`; "start" if left out. */
  readonly anchor?: "start" | "middle" | "end";
}

/** A line of text, its baseline at `y`. */
export function svgText(words: string, at: { readonly x: number; readonly y: number }, style: TextStyle): string {
  const { size, color, weight = "normal", anchor = "start" } = style;
  const attributes = { ...at, "font-size": size, fill: color, "font-weight": weight, "text-anchor": anchor };
  return element("text", attributes, escapeXml(words));
}

/** A square picture. */
export function square(image: Image, at: { readonly x: number; readonly y: number; readonly side: number }): string {
  const { x, y, side } = at;
  const png = Buffer.from(encodePng(asPicture(image))).toString("base64");
  return element("image", { x, y, width: side, height: side, href: `data:image/png;base64,${png}` });
}

/** A whole SVG file on white. */
export function svgFile(width: number, height: number, content: readonly string[]): string {
  const size = { width, height, viewBox: `0 0 ${width} ${height}` };
  const paper = element("rect", { width, height, fill: "#ffffff" });
  const attributes = { xmlns: "http://www.w3.org/2000/svg", ...size, "font-family": "DejaVu Sans" };
  return element("svg", attributes, [paper, ...content].join("\n"));
}

/** "#rrggbb" of a colour. */
export function hex(color: readonly number[]): string {
  return `#${color.map((channel) => Math.round(channel).toString(16).padStart(2, "0")).join("")}`;
}

/** Inks that all pictures share. */
export const ink = { text: "#1c2026", quiet: "#5f6670", line: "#cdd1d6" } as const;

function rounded(value: string | number): string | number {
  return typeof value === "number" ? Number(value.toFixed(2)) : value;
}

function escapeXml(words: string): string {
  return words.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
