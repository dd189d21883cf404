/** The image pointed at: picture, name, label and nearest neighbours. */
import { useEffect, useState } from "preact/hooks";
import type { SimilarImage } from "../../explorer/api.js";
import { ImageList, Thumbnail, withSimilarity } from "./pictures.js";
import { type MapData, pictureAddress } from "./source.js";
import type { ThumbnailStore } from "./thumbnail-store.js";
import type { ColoringState } from "./use-coloring.js";
import type { LabelState } from "./use-labels.js";

interface DetailPanelProps {
  readonly data: MapData;
  readonly store: ThumbnailStore;
  readonly coloring: ColoringState;
  readonly labels: LabelState;
  readonly row: number | undefined;
  readonly isPinned: boolean;
  readonly release: () => void;
  readonly show: (row: number) => void;
}

/** Neighbours shown; the map knows more. */
const NEIGHBORS = 12;

export function DetailPanel({ data, store, coloring, labels, row, isPinned, release, show }: DetailPanelProps) {
  const neighbors = useNeighbors(store, row);
  if (row === undefined)
    return (
      <section>
        <p class="quiet">
          Point at an image to see it, click to keep it; drag to move, scroll to come nearer. Arrow keys, + and - do the
          same, Enter takes the image in the middle.
        </p>
      </section>
    );
  const { files, facts } = data;
  const name = files[row]!;
  const label = labels.byRow.get(row);
  const value = coloring.textOf(row);
  return (
    <section aria-labelledby="image">
      <h2 id="image" class="ellipsis" title={name}>
        {name.split("/").at(-1)}
      </h2>
      <Picture row={row} name={name} store={store} facts={facts} />
      <dl class="facts">
        <dt>File</dt>
        <dd>{name}</dd>
        {value !== undefined && (
          <>
            <dt>{coloring.chosen}</dt>
            <dd>{value}</dd>
          </>
        )}
        {label !== undefined && (
          <>
            <dt>Label</dt>
            <dd>{label}</dd>
          </>
        )}
      </dl>
      {isPinned && (
        <button type="button" onClick={release}>
          Let go
        </button>
      )}
      <h3 class="above">Most like it</h3>
      <ImageList images={withSimilarity(neighbors.slice(0, NEIGHBORS))} {...{ files, store, show }} />
    </section>
  );
}

interface PictureProps {
  readonly row: number;
  readonly name: string;
  readonly store: ThumbnailStore;
  readonly facts: MapData["facts"];
}

/** The larger picture, or the thumbnail where there is none. */
function Picture({ row, name, store, facts: { hasPictures, version } }: PictureProps) {
  const [missing, setMissing] = useState<number>();
  const isLarge = hasPictures && missing !== row;
  return (
    <div class="picture">
      {isLarge ? (
        <img src={pictureAddress(row, version)} alt={name} onError={() => setMissing(row)} />
      ) : (
        <Thumbnail row={row} name={name} store={store} />
      )}
    </div>
  );
}

function useNeighbors(store: ThumbnailStore, row: number | undefined): readonly SimilarImage[] {
  const [found, setFound] = useState<{ readonly row: number; readonly images: readonly SimilarImage[] }>();
  useEffect(() => {
    if (row === undefined) return;
    let isGone = false;
    store.neighbors(row).then(
      (images) => {
        if (!isGone) setFound({ row, images });
      },
      () => undefined, // the store reports errors
    );
    return () => void (isGone = true);
  }, [store, row]);
  return found !== undefined && found.row === row ? found.images : [];
}
