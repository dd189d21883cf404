/** Hooks for the maps of the current image, and the selected patch. */
import { useEffect, useState } from "preact/hooks";
import { asTrouble } from "../shell/trouble-note.js";
import type { InputImage } from "./input-image.js";
import type { Focus } from "./maps.js";
import { frameOf } from "./pictures.js";
import type { RemoteViewer } from "./thread.js";
import type { Camera } from "./use-camera.js";
import type { CurrentModel, OpenedModel } from "./use-model.js";
import type { Task } from "./use-task.js";
import type { ImageView } from "./viewer-model.js";

/** The maximum of a camera frame's shorter side; larger frames are shrunk before they go to the thread. */
const MOST_OF_FRAME = 480;

interface Scene {
  readonly model: CurrentModel;
  readonly shown: InputImage | undefined;
  readonly camera: Camera;
  /** Whether the page is hidden, which pauses the camera. */
  readonly isHidden: boolean;
}

/**
 * Inspects the shown image whenever it, the model or the size changes; while the camera is on, inspects its frames
 * instead.
 */
export function useSight(
  thread: RemoteViewer,
  task: Task,
  { model, shown, camera, isHidden }: Scene,
): ImageView | undefined {
  const { attempt, setTrouble } = task;
  const { opened, size } = model;
  const { video, stop } = camera;
  const [sight, setSight] = useState<ImageView>();
  const isLive = video !== undefined;

  useEffect(() => {
    if (!opened || !shown || size === undefined || isLive) return;
    void attempt(`Looking at ${shown.name}`, async () => {
      setSight(await thread.look(shown, { size, keepColors: false }));
    });
  }, [opened, shown, size, isLive, attempt]);

  useEffect(() => {
    if (!video || !opened || size === undefined || isHidden) return;
    const ended = new AbortController();
    watch(thread, video, { size, ended: ended.signal, onSight: setSight }).catch((error: unknown) => {
      setTrouble(asTrouble(error));
      stop();
    });
    return () => ended.abort();
  }, [video, opened, size, isHidden]);
  return sight;
}

interface WatchOptions {
  readonly size: number;
  readonly ended: AbortSignal;
  readonly onSight: (sight: ImageView) => void;
}

/** Inspects frames continuously, each when the previous one is done. */
async function watch(thread: RemoteViewer, video: HTMLVideoElement, { size, ended, onSight }: WatchOptions) {
  for (let keepColors = false; ; keepColors = true) {
    const seen = await thread.look({ name: "the camera", image: frameOf(video, MOST_OF_FRAME) }, { size, keepColors });
    if (ended.aborted) return;
    onSight(seen);
  }
}

/** Keeps the selected patch, until the model changes or an image lacks the patch. */
export function useFocus(
  opened: OpenedModel | undefined,
  sight: ImageView | undefined,
): { readonly focus: Focus; readonly setFocus: (focus: Focus) => void } {
  const [pointed, point] = useState<{ readonly focus: Focus; readonly model: OpenedModel | undefined }>();
  const patches = sight === undefined ? 0 : sight.rows * sight.cols;
  const isThere = pointed?.focus !== undefined && pointed.model === opened && pointed.focus < patches;
  return {
    focus: isThere ? pointed.focus : undefined,
    setFocus: (focus) => point({ focus, model: opened }),
  };
}
