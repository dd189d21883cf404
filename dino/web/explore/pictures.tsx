/** Pictures of rows on the page. */
import { useEffect, useState } from "preact/hooks";
import type { SimilarImage } from "../../explorer/api.js";
import type { ThumbnailStore } from "./thumbnail-store.js";

interface ThumbnailProps {
  readonly row: number;
  readonly name: string;
  readonly store: ThumbnailStore;
}

export function Thumbnail({ row, name, store }: ThumbnailProps) {
  const [address, setAddress] = useState<string>();
  useEffect(() => {
    let made: string | undefined;
    let isGone = false;
    store.thumbnail(row).then(
      (blob) => {
        if (isGone || blob.size === 0) return;
        made = URL.createObjectURL(blob);
        setAddress(made);
      },
      () => undefined, // the store reports errors
    );
    return () => {
      isGone = true;
      if (made !== undefined) URL.revokeObjectURL(made);
    };
  }, [row, store]);
  return address === undefined ? <span class="thumbnail" /> : <img class="thumbnail" src={address} alt={name} />;
}

interface SimilarImagesProps {
  readonly images: readonly SimilarImage[];
  readonly files: readonly string[];
  readonly store: ThumbnailStore;
  readonly show: (row: number) => void;
}

/** Buttons with similar images, which go to them on the map. */
export function SimilarImages({ images, files, store, show }: SimilarImagesProps) {
  return (
    <ul class="thumbnails">
      {images.map(({ row, similarity }) => (
        <li key={row}>
          <button type="button" title={files[row]} onClick={() => show(row)}>
            <Thumbnail row={row} name={files[row]!} store={store} />
            <span>{similarity.toFixed(3)}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}
