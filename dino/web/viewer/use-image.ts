/** Hook for the current image. */
import { useCallback, useState } from "preact/hooks";
import { fetchResponse, type Index } from "./catalog.js";
import type { InputImage } from "./input-image.js";
import { readPicture } from "./pictures.js";
import type { Task } from "./use-task.js";

export interface ShownImage {
  readonly shown: InputImage | undefined;
  readonly show: (image: InputImage) => void;
  /** Fetches an image of an index and shows it. */
  readonly lookAt: (index: Index, row: number) => Promise<void>;
}

export function useImage({ attempt }: Pick<Task, "attempt">): ShownImage {
  const [shown, show] = useState<InputImage>();
  const lookAt = useCallback(
    (index: Index, row: number) =>
      attempt(`Fetching ${index.names.files[row]!}`, async () => show(await fetchImage(index, row))),
    [attempt],
  );
  return { shown, show, lookAt };
}

/** Fetches an image of an index. Throws as `fetchResponse` and `readPicture` do. */
export async function fetchImage(index: Index, row: number): Promise<InputImage> {
  const file = await (await fetchResponse(index.input(row))).blob();
  return readPicture(file, index.names.files[row]!, "a picture of the server");
}
