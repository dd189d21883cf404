/** Turns stored pixels upright, as the tag Orientation of EXIF and TIFF says. */
import type { Box, Size } from "../pixels.js";
import type { Samples } from "./samples.js";

/** How the rows and columns of an upright image lie in the stored one: swapped first, then each reversed or not. */
interface Turn {
  readonly isSwapped: boolean;
  readonly rowsReversed: boolean;
  readonly colsReversed: boolean;
}

/** Returns the turn of an orientation from 1 to 8; none for any other number. */
function turnOf(orientation: number): Turn {
  return {
    isSwapped: orientation >= 5 && orientation <= 8,
    rowsReversed: [3, 4, 6, 7].includes(orientation),
    colsReversed: [2, 3, 7, 8].includes(orientation),
  };
}

/** Returns the size of a stored image when it is upright. */
export function uprightSize({ rows, cols }: Size, orientation: number): Size {
  return turnOf(orientation).isSwapped ? { rows: cols, cols: rows } : { rows, cols };
}

/** Returns the part of a stored image of a size that a box of the upright image shows. */
export function storedBox(box: Box, { rows, cols }: Size, orientation: number): Box {
  const { isSwapped, rowsReversed, colsReversed } = turnOf(orientation);
  const { top, left, height, width } = isSwapped
    ? { top: box.left, left: box.top, height: box.width, width: box.height }
    : box;
  return {
    top: rowsReversed ? rows - top - height : top,
    left: colsReversed ? cols - left - width : left,
    height,
    width,
  };
}

/** Turns stored samples upright. */
export function upright(stored: Samples, orientation: number): Samples {
  const { isSwapped, rowsReversed, colsReversed } = turnOf(orientation);
  if (!isSwapped && !rowsReversed && !colsReversed) return stored;
  const { channels } = stored;
  const { rows, cols } = uprightSize(stored, orientation);
  const pixels = new Uint8Array(stored.pixels.length);
  let at = 0;
  for (let row = 0; row < rows; row++)
    for (let col = 0; col < cols; col++) {
      const [y, x] = isSwapped ? [col, row] : [row, col];
      const storedRow = rowsReversed ? stored.rows - 1 - y : y;
      const storedCol = colsReversed ? stored.cols - 1 - x : x;
      const from = (storedRow * stored.cols + storedCol) * channels;
      for (let channel = 0; channel < channels; channel++) pixels[at++] = stored.pixels[from + channel]!;
    }
  return { rows, cols, channels, pixels };
}
