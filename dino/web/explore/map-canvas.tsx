/** The map, with rings around some images, the lasso, and buttons to zoom. */
import type { Ref } from "preact";
import { useEffect, useImperativeHandle } from "preact/hooks";
import { toCanvas } from "./camera.js";
import type { ColoringState } from "./use-coloring.js";
import { type MapSettings, type MapView, useMapView } from "./use-map-view.js";

/** What others do to the map. */
export interface MapHandle {
  readonly redraw: () => void;
  /** Brings a row to the middle. */
  readonly goTo: (row: number) => void;
}

interface MapCanvasProps extends MapSettings {
  readonly coloring: ColoringState;
  /** Rows found by a search. */
  readonly found: readonly number[];
  readonly handle: Ref<MapHandle>;
}

export function MapCanvas(props: MapCanvasProps) {
  const { places, coloring, selection, pinned, found, isLasso, handle } = props;
  const view = useMapView(props);
  const { canvas, outline, frame, setColors, redraw, goTo } = view;
  useImperativeHandle(handle, () => ({ redraw, goTo }), [redraw, goTo]);
  useEffect(() => {
    setColors(coloring.colorOf, selection.size > 0 ? (row) => selection.has(row) : () => true);
  }, [setColors, coloring.colorOf, selection]);
  return (
    <div class="map" ref={frame}>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="application"
        aria-label={
          `Map of ${places.length / 2} images. Arrow keys move, plus and minus zoom, 0 shows all, Enter keeps the image in the ` +
          "middle, N goes to its neighbour, S selects all in view, L draws a lasso, Escape lets go."
        }
        class={isLasso ? "lassoing" : ""}
        onKeyDown={view.press}
      />
      <svg class="marks" aria-hidden="true">
        <Rings places={places} rows={pinned === undefined ? found : [pinned, ...found]} view={view} />
        <polygon points={outline.map((at) => at.join(",")).join(" ")} />
      </svg>
      <div class="zoom">
        <button type="button" aria-label="Nearer" onClick={() => view.zoom(1.6)}>
          +
        </button>
        <button type="button" aria-label="Further" onClick={() => view.zoom(1 / 1.6)}>
          −
        </button>
        <button type="button" aria-label="Show all" onClick={view.showAll}>
          ⤢
        </button>
      </div>
    </div>
  );
}

interface RingsProps {
  readonly places: Float32Array;
  readonly rows: readonly number[];
  readonly view: MapView;
}

function Rings({ places, rows, view: { camera, extent } }: RingsProps) {
  return (
    <>
      {rows.map((row, i) => {
        const [cx, cy] = toCanvas(camera, extent, places[2 * row]!, places[2 * row + 1]!);
        return <circle key={row} cx={cx} cy={cy} r={i === 0 ? 13 : 9} />;
      })}
    </>
  );
}
