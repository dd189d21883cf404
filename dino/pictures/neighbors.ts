/** A picture of images beside their nearest neighbours by several kinds of features. */
import type { Image } from "../images/pixels.js";
import { element, ink, square, svgCaption, svgFile, svgText } from "./svg.js";

/** A square image and its class. */
export interface LabelledImage {
  readonly image: Image;
  readonly label: number;
}

/** Neighbours by one kind of features. */
export interface NeighborGroup {
  readonly title: string;
  /** k-NN accuracy of the features, in percent. */
  readonly accuracy: number;
  /** The neighbours of every query, the nearest first. */
  readonly neighbors: readonly (readonly LabelledImage[])[];
}

export interface NeighborsOptions {
  readonly queries: readonly LabelledImage[];
  readonly groups: readonly NeighborGroup[];
  /** Names of the classes. */
  readonly classes: readonly string[];
  readonly title: string;
  /** Lines below the picture. */
  readonly caption: readonly string[];
}

const WIDTH = 1000;
const MARGIN = 24;
const GAP = 6;
const GROUP_GAP = 26;
const NAMES = 84;
const TOP = 112;
/**
 * Blue and vermillion of Okabe and Ito's palette, distinct for colour-blind people; dashes distinguish them in grey.
 */
const RIGHT = { stroke: "#0072b2", "stroke-width": 3 } as const;
const WRONG = { stroke: "#d55e00", "stroke-width": 2.5, "stroke-dasharray": "5 3" } as const;

/**
 * Draws a row per query as SVG, with its neighbours by each group: those of the query's class in a solid blue frame
 * (class `right`), others in a dashed orange one (class `wrong`). Throws unless every group has neighbours for every
 * query.
 */
export function neighborsSvg({ queries, groups, classes, title, caption }: NeighborsOptions): string {
  for (const group of groups) {
    if (group.neighbors.length !== queries.length)
      throw new Error(`neighbors: expected a row for each of ${queries.length} queries, got ${group.neighbors.length}`);
  }
  const most = Math.max(1, ...groups.flatMap(({ neighbors }) => neighbors.map(({ length }) => length)));
  const columns = groups.length * most + 1;
  const gaps = GAP * groups.length * (most - 1) + GROUP_GAP * groups.length;
  const side = Math.min(72, Math.floor((WIDTH - 2 * MARGIN - NAMES - gaps) / columns));
  const groupWidth = most * side + (most - 1) * GAP;
  const used = NAMES + side + groups.length * (groupWidth + GROUP_GAP);
  const left = Math.round((WIDTH - used) / 2);
  const queryLeft = left + NAMES;
  const groupLeft = (group: number) => queryLeft + side + GROUP_GAP + group * (groupWidth + GROUP_GAP);
  const rowTop = (row: number) => TOP + row * (side + 2 * GAP);
  const bottom = rowTop(queries.length) + 14;

  const heading = { size: 19, color: ink.text, weight: "bold" } as const;
  const headings = groups.flatMap(({ title: groupTitle, accuracy }, group) => {
    const x = groupLeft(group) + groupWidth / 2;
    return [
      svgText(`${groupTitle} ${accuracy.toFixed(0)} %`, { x, y: 80 }, { ...heading, size: 16, anchor: "middle" }),
      svgText("k-NN accuracy", { x, y: 98 }, { size: 11, color: ink.quiet, anchor: "middle" }),
    ];
  });
  const rows = queries.flatMap((query, row) => {
    const y = rowTop(row);
    const name = { size: 13, color: ink.text, anchor: "end" } as const;
    return [
      svgText(shortened(classes[query.label]!), { x: queryLeft - 10, y: y + side / 2 + 5 }, name),
      square(query.image, { x: queryLeft, y, side }),
      ...groups.flatMap(({ neighbors }, group) =>
        neighbors[row]!.flatMap(({ image, label }, i) => {
          const x = groupLeft(group) + i * (side + GAP);
          return [square(image, { x, y, side }), frame({ x, y, side }, label === query.label)];
        }),
      ),
    ];
  });
  const legend = [
    frame({ x: left, y: bottom, side: 16 }, true),
    frame({ x: left + 190, y: bottom, side: 16 }, false),
    svgText("same class as the query", { x: left + 24, y: bottom + 13 }, { size: 12.5, color: ink.text }),
    svgText("another class", { x: left + 214, y: bottom + 13 }, { size: 12.5, color: ink.text }),
  ];
  const below = svgCaption(caption, { x: left, y: bottom + 40 });
  return svgFile(WIDTH, below.bottom, [
    svgText(title, { x: left, y: 40 }, heading),
    svgText("query", { x: queryLeft + side / 2, y: 98 }, { size: 11, color: ink.quiet, anchor: "middle" }),
    ...headings,
    ...rows,
    ...legend,
    ...below.lines,
  ]);
}

/** Draws a frame around a square. */
function frame(at: { readonly x: number; readonly y: number; readonly side: number }, isRight: boolean): string {
  const { x, y, side } = at;
  const style = isRight ? RIGHT : WRONG;
  return element("rect", {
    class: isRight ? "right" : "wrong",
    x,
    y,
    width: side,
    height: side,
    fill: "none",
    ...style,
  });
}

/** Shortens a name to fit beside a row. */
function shortened(name: string): string {
  return name.length <= 11 ? name : `${name.slice(0, 10)}.`;
}
