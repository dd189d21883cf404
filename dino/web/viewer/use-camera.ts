/** Hook for the camera. */
import { useCallback, useEffect, useState } from "preact/hooks";
import { openCamera, stopCamera } from "./camera.js";
import type { Task } from "./use-task.js";

export interface Camera {
  /** The video of the camera; undefined while it is off. */
  readonly video: HTMLVideoElement | undefined;
  readonly start: () => void;
  readonly stop: () => void;
}

export function useCamera({ attempt }: Task): Camera {
  const [video, setVideo] = useState<HTMLVideoElement>();
  useEffect(() => {
    if (video) return () => stopCamera(video);
  }, [video]);
  const start = () => void attempt("Opening the camera", async () => setVideo(await openCamera()));
  const stop = useCallback(() => setVideo(undefined), []);
  return { video, start, stop };
}
