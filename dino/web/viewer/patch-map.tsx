/** An image with a map over it; the pointer or the arrow keys select the patch of all maps. */
import { useEffect, useRef } from "preact/hooks";
import { type Focus, opaque, type Painting } from "./maps.js";
import { paint } from "./pictures.js";
import type { ImageView } from "./viewer-model.js";

interface PatchMapProps {
  readonly title: string;
  readonly sight: ImageView;
  /** The overlay; default: none. */
  readonly over?: Painting | undefined;
  /** Whether patches have sharp edges. */
  readonly sharp?: boolean;
  readonly focus: Focus;
  /** Receives the selected patch; undefined when the pointer leaves. */
  readonly choose: (focus: Focus) => void;
  /** Whether the arrow keys select patches here. */
  readonly takesKeys?: boolean;
}

export function PatchMap({ title, sight, over, sharp = false, focus, choose, takesKeys = false }: PatchMapProps) {
  const below = useRef<HTMLCanvasElement>(null);
  const above = useRef<HTMLCanvasElement>(null);
  const { image, rows, cols } = sight;
  useEffect(() => paint(below.current!, opaque(image.pixels, image)), [image]);
  useEffect(() => {
    if (over) paint(above.current!, over);
  }, [over]);

  const point = ({ currentTarget, clientX, clientY }: PointerEvent & { readonly currentTarget: HTMLElement }) => {
    const { left, top, width, height } = currentTarget.getBoundingClientRect();
    const within = (share: number, count: number) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
    choose(within((clientY - top) / height, rows) * cols + within((clientX - left) / width, cols));
  };
  const keys = {
    role: "application" as const,
    tabIndex: 0,
    "aria-label": `${title}: arrow keys move from patch to patch, Escape goes back to the whole image`,
    onKeyDown: (event: KeyboardEvent) => {
      const next = step(event.key, focus, sight);
      if (next === "none") return;
      event.preventDefault();
      choose(next);
    },
  };
  return (
    <figure class="patch-map">
      <figcaption>{title}</figcaption>
      <div
        class="stack"
        style={{ aspectRatio: `${image.cols} / ${image.rows}` }}
        onPointerMove={point}
        onPointerDown={point}
        onPointerLeave={({ pointerType }) => pointerType === "mouse" && choose(undefined)}
        {...(takesKeys ? keys : { role: "img" as const, "aria-label": title })}
      >
        <canvas ref={below} />
        <canvas ref={above} class={sharp ? "sharp" : ""} hidden={over === undefined} />
        {focus !== undefined && (
          <span
            class="focus"
            style={{
              left: `${(100 * (focus % cols)) / cols}%`,
              top: `${(100 * Math.floor(focus / cols)) / rows}%`,
              width: `${100 / cols}%`,
              height: `${100 / rows}%`,
            }}
          />
        )}
      </div>
    </figure>
  );
}

/** Steps down and right. */
const DIRECTIONS: ReadonlyMap<string, readonly [number, number]> = new Map([
  ["ArrowLeft", [0, -1]],
  ["ArrowRight", [0, 1]],
  ["ArrowUp", [-1, 0]],
  ["ArrowDown", [1, 0]],
]);

/** Returns the patch that a key moves to; "none" for other keys. */
function step(key: string, focus: Focus, { rows, cols }: ImageView): Focus | "none" {
  if (key === "Escape") return undefined;
  const direction = DIRECTIONS.get(key);
  if (direction === undefined) return "none";
  const [down, right] = direction;
  if (focus === undefined) return Math.floor(rows / 2) * cols + Math.floor(cols / 2);
  const row = Math.min(rows - 1, Math.max(0, Math.floor(focus / cols) + down));
  const col = Math.min(cols - 1, Math.max(0, (focus % cols) + right));
  return row * cols + col;
}
