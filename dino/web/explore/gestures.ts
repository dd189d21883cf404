/** Mouse, pen and touch on the map. */
import type { Point } from "./picking.js";

export interface Gestures {
  /** Whether dragging draws a lasso; it does with Shift as well. */
  readonly isLasso: () => boolean;
  readonly move: (dx: number, dy: number) => void;
  readonly zoom: (factor: number, at: Point) => void;
  /** Points at a place without pressing, or at none. */
  readonly point: (at: Point | undefined) => void;
  readonly tap: (at: Point) => void;
  /** Shows the lasso so far. */
  readonly outline: (points: readonly Point[]) => void;
  /** Ends the lasso; adds to the selection or replaces it. */
  readonly enclose: (points: readonly Point[], adds: boolean) => void;
}

/** Pixels that a pointer may move within a tap. */
const TAP = 5;

/** Listens to an element; returns a function that ends it. */
export function openGestures(element: HTMLElement, gestures: Gestures): () => void {
  const pointers = new Map<number, Point>();
  let lasso: Point[] | undefined;
  let travelled = 0;
  const placeOf = ({ clientX, clientY }: MouseEvent): Point => {
    const { left, top } = element.getBoundingClientRect();
    return [clientX - left, clientY - top];
  };
  const spread = (): { readonly size: number; readonly middle: Point } => {
    const [a, b] = [...pointers.values()] as [Point, Point];
    return {
      size: Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1])),
      middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2],
    };
  };
  const drag = (id: number, at: Point): void => {
    const before = pointers.get(id)!;
    travelled += Math.hypot(at[0] - before[0], at[1] - before[1]);
    if (lasso) {
      lasso.push(at);
      gestures.outline([...lasso]);
    } else if (pointers.size === 1) gestures.move(at[0] - before[0], at[1] - before[1]);
    else {
      const { size, middle } = spread();
      pointers.set(id, at);
      const now = spread();
      gestures.move(now.middle[0] - middle[0], now.middle[1] - middle[1]);
      gestures.zoom(now.size / size, now.middle);
    }
    pointers.set(id, at);
  };
  const lift = (event: PointerEvent, isCancelled: boolean): void => {
    if (!pointers.delete(event.pointerId)) return;
    const drawn = lasso;
    lasso = undefined;
    if (drawn && travelled > TAP && !isCancelled) gestures.enclose(drawn, event.shiftKey && gestures.isLasso());
    else if (drawn) gestures.outline([]);
    else if (!isCancelled && travelled <= TAP && pointers.size === 0) gestures.tap(placeOf(event));
  };
  const listeners = {
    pointerdown: (event: PointerEvent) => {
      if (event.button !== 0 || pointers.size === 2) return;
      element.setPointerCapture(event.pointerId);
      if (pointers.size === 0) travelled = 0;
      pointers.set(event.pointerId, placeOf(event));
      lasso = pointers.size === 1 && (gestures.isLasso() || event.shiftKey) ? [placeOf(event)] : undefined;
    },
    pointermove: (event: PointerEvent) => {
      if (pointers.has(event.pointerId)) drag(event.pointerId, placeOf(event));
      else if (event.pointerType === "mouse") gestures.point(placeOf(event));
    },
    pointerup: (event: PointerEvent) => lift(event, false),
    pointercancel: (event: PointerEvent) => lift(event, true),
    wheel: (event: WheelEvent) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      gestures.zoom(Math.exp(-0.0022 * lines * event.deltaY * (event.ctrlKey ? 4 : 1)), placeOf(event));
    },
  };
  for (const [type, listener] of Object.entries(listeners))
    element.addEventListener(type, listener as EventListener, { passive: false });
  return () => {
    for (const [type, listener] of Object.entries(listeners))
      element.removeEventListener(type, listener as EventListener);
  };
}
