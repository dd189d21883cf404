/** Search by an image: dropped, pasted or chosen. */
import { ImageList, withSimilarity } from "./pictures.js";
import type { ThumbnailStore } from "./thumbnail-store.js";
import type { SearchState } from "./use-search.js";

interface SearchPanelProps {
  readonly search: SearchState;
  readonly files: readonly string[];
  readonly store: ThumbnailStore;
  readonly show: (row: number) => void;
}

export function SearchPanel({ search, files, store, show }: SearchPanelProps) {
  const { isSearching, name, result, find, clear } = search;
  return (
    <section aria-labelledby="search">
      <h2 id="search">Search by image</h2>
      <div class="controls">
        <label class="boxed file">
          Open an image
          <input
            type="file"
            accept="image/*"
            onChange={({ currentTarget }) => {
              const file = currentTarget.files?.[0];
              if (file) void find(file, file.name);
              currentTarget.value = "";
            }}
          />
        </label>
        {result && (
          <button type="button" onClick={clear}>
            Clear
          </button>
        )}
        <span class="quiet">{isSearching ? `Looking for ${name}` : result ? name : "or drop or paste one"}</span>
      </div>
      {result && <ImageList images={withSimilarity(result)} {...{ files, store, show }} />}
    </section>
  );
}
