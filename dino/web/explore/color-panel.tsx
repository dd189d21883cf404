/** The choice of colours, and their legend. */
import { cssColor, rampColor } from "./colors.js";
import type { ColoringState } from "./use-coloring.js";

/** Names of a legend; the rest is counted. */
const MOST_NAMES = 24;

export function ColorPanel({ coloring: { choices, chosen, choose, legend } }: { readonly coloring: ColoringState }) {
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
          {legend.entries.slice(0, MOST_NAMES).map(({ name, color, count }) => (
            <li key={name}>
              <span class="swatch" style={{ background: cssColor(color) }} />
              <span class="ellipsis">{name}</span>
              <span class="quiet">{count}</span>
            </li>
          ))}
          {legend.entries.length > MOST_NAMES && <li class="quiet">and {legend.entries.length - MOST_NAMES} more</li>}
        </ul>
      )}
      {legend.kind === "range" && (
        <div class="range">
          <span>{legend.low}</span>
          <span class="ramp" style={{ background: RAMP }} />
          <span>{legend.high}</span>
        </div>
      )}
    </section>
  );
}

const RAMP = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((share) => cssColor(rampColor(share))).join(", ")})`;
