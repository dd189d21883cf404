/** Contact sheets: queries beside their neighbours, groups of similar images, images beside their crops. */
import { type Image, resize, sizeWithin } from "../images/pixels.js";
import {
  asPicture,
  blankPicture,
  type Rectangle,
  clipText,
  type Color,
  drawText,
  fillBox,
  type Picture,
  placePicture,
  scalePicture,
  textWidth,
} from "../pictures/drawing.js";

/** An image on the sheet, with two lines of text below it. */
export interface SheetCell {
  /** Undefined if the image cannot be read. */
  readonly image: Image | undefined;
  readonly name: string;
  readonly note: string;
}

export interface SheetRow {
  readonly title: string;
  /** A cell to the left of the others, framed. */
  readonly lead?: SheetCell;
  readonly cells: readonly SheetCell[];
}

const PAPER: Color = [255, 255, 255];
const INK: Color = [28, 32, 38];
const FAINT: Color = [118, 124, 133];
const GROUND: Color = [238, 240, 242];
const LEAD: Color = [31, 119, 180];

const MARGIN = 28;
const GAP = 12;
/** Side of the square cell of an image. */
const CELL = 150;
const CAPTION = 46;
const TITLE = 26;
/** Maximum number of images per line, without the lead. */
const COLUMNS = 8;

/** Draws a sheet of rows, with the images of a row in lines of eight. */
export function contactSheet(title: string, rows: readonly SheetRow[]): Picture {
  const hasLead = rows.some(({ lead }) => lead !== undefined);
  const widest = Math.max(1, ...rows.map(({ cells }) => Math.min(COLUMNS, cells.length)));
  const columns = Math.max(4, widest + (hasLead ? 1 : 0));
  const heights = rows.map(({ cells }) => TITLE + Math.max(1, Math.ceil(cells.length / COLUMNS)) * (CELL + CAPTION));
  const top = MARGIN + 34;
  const picture = blankPicture(
    2 * MARGIN + columns * (CELL + GAP) - GAP + (hasLead ? GAP : 0),
    top + heights.reduce((sum, height) => sum + height, 0) + MARGIN - GAP,
    PAPER,
  );
  const width = picture.width - 2 * MARGIN;
  drawText(picture, clipText(title, width, 16), { x: MARGIN, y: MARGIN, color: INK, size: 16 });

  let y = top;
  for (const [r, { title: rowTitle, lead, cells }] of rows.entries()) {
    drawText(picture, clipText(rowTitle, width, 11), { x: MARGIN, y: y + 3, color: FAINT, size: 11 });
    const left = MARGIN + (hasLead ? CELL + 2 * GAP : 0);
    if (lead) {
      const frame = { x: MARGIN - 3, y: y + TITLE - 3, width: CELL + 6, height: CELL + 6 };
      fillBox(picture, frame, LEAD);
      drawCell(picture, lead, MARGIN, y + TITLE);
    }
    for (const [i, cell] of cells.entries()) {
      const line = Math.floor(i / COLUMNS);
      drawCell(picture, cell, left + (i % COLUMNS) * (CELL + GAP), y + TITLE + line * (CELL + CAPTION));
    }
    y += heights[r]!;
  }
  return picture;
}

function drawCell(picture: Picture, { image, name, note }: SheetCell, x: number, y: number): void {
  const box: Rectangle = { x, y, width: CELL, height: CELL };
  fillBox(picture, box, GROUND);
  const middle = x + CELL / 2;
  if (image) {
    const small = fitted(image);
    const [dx, dy] = [Math.floor((CELL - small.width) / 2), Math.floor((CELL - small.height) / 2)];
    placePicture(picture, small, x + dx, y + dy);
  } else {
    drawText(picture, "not readable", { x: middle, y: y + CELL / 2 - 5, color: FAINT, size: 10, align: "center" });
  }
  const line = (text: string, down: number, color: Color): void =>
    drawText(picture, text, { x: middle, y: y + CELL + down, color, size: 10, align: "center" });
  line(clipText(note, CELL, 10), 8, INK);
  line(endOf(name), 22, FAINT);
}

/** Truncates a name at its beginning, which distinguishes images less than the end. */
function endOf(name: string): string {
  if (textWidth(name, 10) <= CELL) return name;
  let end = name;
  while (end.length > 1 && textWidth(`..${end}`, 10) > CELL) end = end.slice(1);
  return `..${end}`;
}

/** Shrinks an image to fit a cell, or enlarges it by the largest integer factor that fits. */
function fitted(image: Image): Picture {
  const shown = resize(image, sizeWithin(image, CELL), "lanczos");
  return scalePicture(asPicture(shown), { up: Math.floor(CELL / Math.max(shown.rows, shown.cols)) });
}
