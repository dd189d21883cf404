/** The images with the highest or the lowest numbers of what colours show, for example outliers and near-duplicates. */
import { useState } from "preact/hooks";
import type { NumberLegend } from "./colors.js";
import { ImageList } from "./pictures.js";
import type { ThumbnailStore } from "./thumbnail-store.js";

interface RankedImagesProps {
  readonly legend: NumberLegend;
  readonly files: readonly string[];
  readonly store: ThumbnailStore;
  readonly show: (row: number) => void;
  readonly select: (rows: ReadonlySet<number>) => void;
}

/** Images that are listed at first, and more at a click. */
const STEP = 8;

export function RankedImages({ legend, files, store, show, select }: RankedImagesProps) {
  const [isHighest, setHighest] = useState(true);
  const [count, setCount] = useState(STEP);
  const ranked = isHighest ? legend.ranked : legend.ranked.toReversed();
  const images = ranked.slice(0, count).map((row) => ({ row, text: legend.textOf(row) }));
  return (
    <div class="ranked">
      <div class="controls">
        {[true, false].map((highest) => (
          <button
            type="button"
            key={String(highest)}
            aria-pressed={isHighest === highest}
            onClick={() => setHighest(highest)}
          >
            {highest ? "Highest" : "Lowest"}
          </button>
        ))}
        <button type="button" onClick={() => select(new Set(images.map(({ row }) => row)))}>
          Select {images.length}
        </button>
      </div>
      <ImageList {...{ images, files, store, show }} />
      {count < ranked.length && (
        <button type="button" onClick={() => setCount(count + STEP)}>
          More
        </button>
      )}
    </div>
  );
}
