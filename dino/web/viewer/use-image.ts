/** Hook for the current image. */
import { useCallback, useState } from "preact/hooks";
import { fetchResponse, type Example } from "./catalog.js";
import { readPicture } from "./pictures.js";
import type { Task } from "./use-task.js";

export interface ShownImage {
  readonly shown: Example | undefined;
  readonly show: (image: Example) => void;
  /** Fetches the picture at an address and shows it. */
  readonly lookAt: (address: string, name: string) => Promise<void>;
}

export function useImage({ attempt }: Pick<Task, "attempt">): ShownImage {
  const [shown, show] = useState<Example>();
  const lookAt = useCallback(
    (address: string, name: string) =>
      attempt(`Fetching ${name}`, async () => {
        const image = await readPicture(await (await fetchResponse(address)).blob(), name);
        show({ image, name });
      }),
    [attempt],
  );
  return { shown, show, lookAt };
}
