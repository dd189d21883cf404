/** Camera and canvas of the map, and what moves them. */
import type { RefObject } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type PictureLevels, type Square, squareOf } from "../../explorer/picture-levels.js";
import { asTrouble } from "../shell/trouble-note.js";
import type { Trouble } from "../shell/trouble.js";
import { type Camera, type Extent, moved, wholeMap, zoomed } from "./camera.js";
import { type Gestures, openGestures } from "./gestures.js";
import { type Point, rowAt, rowsInside } from "./picking.js";
import { openRenderer, type Renderer } from "./renderer.js";
import type { ThumbnailStore } from "./thumbnail-store.js";

/** What the map is, and what its visitor does to it. */
export interface MapSettings {
  readonly places: Float32Array;
  readonly levels: PictureLevels;
  readonly store: ThumbnailStore;
  readonly selection: ReadonlySet<number>;
  readonly select: (rows: ReadonlySet<number>) => void;
  readonly pinned: number | undefined;
  readonly pin: (row: number | undefined) => void;
  readonly point: (row: number | undefined) => void;
  readonly isLasso: boolean;
  readonly setLasso: (is: boolean) => void;
  readonly setTrouble: (trouble: Trouble) => void;
}

/** What changes without a new rendering of the page. */
interface Standing {
  camera: Camera;
  extent: Extent;
  renderer?: Renderer;
  isDue: boolean;
}

export interface MapView extends ReturnType<typeof openView> {
  readonly canvas: RefObject<HTMLCanvasElement>;
  readonly frame: RefObject<HTMLDivElement>;
  /** The lasso as it is drawn. */
  readonly outline: readonly Point[];
  readonly camera: Camera;
  readonly extent: Extent;
}

const KEY_STEP = 80;
const KEY_ZOOM = 1.35;

export function useMapView(settings: MapSettings): MapView {
  const { places, levels, store, setTrouble } = settings;
  const canvas = useRef<HTMLCanvasElement>(null);
  const frame = useRef<HTMLDivElement>(null);
  const [outline, setOutline] = useState<readonly Point[]>([]);
  const [, setDrawings] = useState(0);
  const latest = useRef(settings);
  latest.current = settings;
  const standing = useRef<Standing>({
    camera: { x: 0, y: 0, scale: 1 },
    extent: { width: 1, height: 1 },
    isDue: false,
  });
  const view = useMemo(
    () =>
      openView(standing.current, {
        ...{ places, square: squareOf(places), setOutline },
        settings: () => latest.current,
        onDrawn: () => setDrawings((n) => n + 1),
      }),
    [places],
  );
  useEffect(() => {
    const now = standing.current;
    const [surface, box] = [canvas.current!, frame.current!];
    try {
      now.renderer = openRenderer(surface, { places, levels, store, onReady: view.redraw });
    } catch (error) {
      setTrouble(asTrouble(error));
      return;
    }
    const stopGestures = openGestures(surface, view.gestures);
    let isFirst = true;
    const observer = new ResizeObserver(() => {
      now.extent = { width: box.clientWidth, height: box.clientHeight };
      if (isFirst) view.showAll();
      isFirst = false;
      view.redraw();
    });
    observer.observe(box);
    return () => {
      observer.disconnect();
      stopGestures();
      now.renderer?.[Symbol.dispose]();
    };
  }, [view]);
  const { camera, extent } = standing.current;
  return { ...view, canvas, frame, outline, camera, extent };
}

interface ViewOptions {
  readonly places: Float32Array;
  readonly square: Square;
  readonly settings: () => MapSettings;
  readonly setOutline: (points: readonly Point[]) => void;
  /** Called after each drawing. */
  readonly onDrawn: () => void;
}

function openView(now: Standing, { places, square, settings, setOutline, onDrawn }: ViewOptions) {
  const redraw = (): void => {
    if (now.isDue) return;
    now.isDue = true;
    requestAnimationFrame(() => {
      now.isDue = false;
      now.renderer?.draw({ camera: now.camera, extent: now.extent, pixelRatio: devicePixelRatio });
      onDrawn();
    });
  };
  const move = (camera: Camera): void => {
    now.camera = camera;
    redraw();
  };
  const middle = (): Point => [now.extent.width / 2, now.extent.height / 2];
  const zoom = (factor: number, at: Point = middle()): void =>
    move(zoomed(now.camera, factor, { at, extent: now.extent, square }));
  const pick = (at: Point, reach?: number): number | undefined =>
    now.renderer && rowAt(places, { ...now, renderer: now.renderer, at, ...(reach !== undefined && { reach }) });
  const selectInside = (polygon: readonly Point[], adds: boolean): void => {
    const rows = rowsInside(places, { ...now, polygon });
    const { selection, select, setLasso } = settings();
    select(new Set(adds ? [...selection, ...rows] : rows));
    setLasso(false);
  };
  const selectView = (): void => {
    const { width, height } = now.extent;
    const corners = [
      [0, 0],
      [width, 0],
      [width, height],
      [0, height],
    ] as const;
    selectInside(corners, false);
  };
  const gestures: Gestures = {
    isLasso: () => settings().isLasso,
    move: (dx, dy) => move(moved(now.camera, dx, dy)),
    zoom,
    point: (at) => settings().point(at && pick(at)),
    tap: (at) => settings().pin(pick(at)),
    outline: setOutline,
    enclose: (polygon, adds) => {
      setOutline([]);
      selectInside(polygon, adds);
    },
  };
  const showAll = (): void => move(wholeMap(square, now.extent));
  const goTo = (row: number): void => move({ ...now.camera, x: places[2 * row]!, y: places[2 * row + 1]! });
  const setColors: Renderer["setColors"] = (...colors) => {
    now.renderer?.setColors(...colors);
    redraw();
  };
  const keepMiddle = (): void => settings().pin(pick(middle(), Infinity));
  const press = openKeys({ settings, gestures, zoom, showAll, selectView, keepMiddle, goTo });
  return { redraw, goTo, zoom, showAll, press, setColors, gestures };
}

interface KeyOptions {
  readonly settings: () => MapSettings;
  readonly gestures: Gestures;
  readonly zoom: (factor: number) => void;
  readonly showAll: () => void;
  readonly selectView: () => void;
  readonly keepMiddle: () => void;
  readonly goTo: (row: number) => void;
}

/** Returns what handles the keys of the map. */
function openKeys({ settings, gestures, zoom, goTo, ...actions }: KeyOptions): (event: KeyboardEvent) => void {
  const goToNeighbor = async (): Promise<void> => {
    const { pinned, store, pin } = settings();
    if (pinned === undefined) return;
    const [nearest] = await store.neighbors(pinned);
    if (!nearest) return;
    pin(nearest.row);
    goTo(nearest.row);
  };
  const letGo = (): void => {
    const { pin, setLasso, select } = settings();
    pin(undefined);
    setLasso(false);
    select(new Set());
  };
  const keys: Readonly<Record<string, () => void>> = {
    ArrowLeft: () => gestures.move(KEY_STEP, 0),
    ArrowRight: () => gestures.move(-KEY_STEP, 0),
    ArrowUp: () => gestures.move(0, KEY_STEP),
    ArrowDown: () => gestures.move(0, -KEY_STEP),
    "+": () => zoom(KEY_ZOOM),
    "=": () => zoom(KEY_ZOOM),
    "-": () => zoom(1 / KEY_ZOOM),
    0: actions.showAll,
    Enter: actions.keepMiddle,
    n: () => void goToNeighbor().catch(() => undefined), // the store reports errors
    s: actions.selectView,
    l: () => settings().setLasso(!settings().isLasso),
    Escape: letGo,
  };
  return (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };
}
