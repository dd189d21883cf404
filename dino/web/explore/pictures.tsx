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

interface ImageListProps {
  readonly images: readonly { readonly row: number; readonly text: string }[];
  readonly files: readonly string[];
  readonly store: ThumbnailStore;
  readonly show: (row: number) => void;
}

/** Buttons with images and what is said of each, which go to them on the map. */
export function ImageList({ images, files, store, show }: ImageListProps) {
  return (
    <ul class="thumbnails">
      {images.map(({ row, text }) => (
        <li key={row}>
          <button type="button" title={files[row]} onClick={() => show(row)}>
            <Thumbnail row={row} name={files[row]!} store={store} />
            <span>{text}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

/** Returns what a list of similar images shows. */
export function withSimilarity(images: readonly SimilarImage[]): ImageListProps["images"] {
  return images.map(({ row, similarity }) => ({ row, text: similarity.toFixed(3) }));
}
