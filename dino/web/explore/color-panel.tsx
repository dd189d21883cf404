/** The choice of colours, their legend, and the images that it leads to. */
import { cssColor, rampColor } from "./colors.js";
import { RankedImages } from "./ranked-images.js";
import type { ThumbnailStore } from "./thumbnail-store.js";
import type { ColoringState } from "./use-coloring.js";

interface ColorPanelProps {
  readonly coloring: ColoringState;
  readonly files: readonly string[];
  readonly store: ThumbnailStore;
  readonly show: (row: number) => void;
  readonly select: (rows: ReadonlySet<number>) => void;
}

/** Names of a legend; the rest is counted. */
const MOST_NAMES = 24;

export function ColorPanel({ coloring, files, store, show, select }: ColorPanelProps) {
  const { choices, chosen, choose, legend } = coloring;
  return (
    <section aria-labelledby="colors">
      <h2 id="colors">Colours</h2>
      <select aria-label="Colour by" value={chosen} onChange={({ currentTarget }) => choose(currentTarget.value)}>
        {choices.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
      {legend.kind === "names" && (
        <ul class="legend">
          {legend.entries.slice(0, MOST_NAMES).map(({ name, color, count, rows }) => (
            <li key={name}>
              <button type="button" title={`Select ${name}`} onClick={() => select(new Set(rows()))}>
                <span class="swatch" style={{ background: cssColor(color) }} />
                <span class="ellipsis">{name}</span>
                <span class="quiet">{count}</span>
              </button>
            </li>
          ))}
          {legend.entries.length > MOST_NAMES && <li class="quiet">and {legend.entries.length - MOST_NAMES} more</li>}
        </ul>
      )}
      {(legend.kind === "range" || legend.kind === "numbers") && (
        <div class="range">
          <span>{legend.low}</span>
          <span class="ramp" style={{ background: RAMP }} />
          <span>{legend.high}</span>
        </div>
      )}
      {legend.kind === "numbers" && <RankedImages key={chosen} {...{ legend, files, store, show, select }} />}
    </section>
  );
}

const RAMP = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((share) => cssColor(rampColor(share))).join(", ")})`;
