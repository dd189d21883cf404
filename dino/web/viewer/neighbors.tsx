/** The most similar images of the index. */
import type { Neighbor } from "../../retrieval/nearest.js";
import type { Index } from "./catalog.js";

interface NeighborsProps {
  readonly index: Index;
  readonly neighbors: readonly Neighbor[];
  readonly isOutdated: boolean;
  readonly lookAt: (index: Index, row: number) => void;
}

export function Neighbors({ index, neighbors, isOutdated, lookAt }: NeighborsProps) {
  const { names, picture } = index;
  const { files, classes, labels } = names;
  return (
    <section aria-labelledby="neighbors">
      <h2 id="neighbors">Most like it, of {files.length} images</h2>
      {isOutdated && (
        <p class="warning">
          The model has been trained since this index was made, so similarities are inaccurate; dino embed updates it.
        </p>
      )}
      <ul class="neighbors">
        {neighbors.map(({ row, similarity }) => {
          const name = files[row]!;
          const label = classes[labels?.[row] ?? -1];
          return (
            <li key={row}>
              <button type="button" title={`Look at ${name}`} onClick={() => lookAt(index, row)}>
                <img src={picture(row)} alt={name} loading="lazy" />
                <span>{[label, similarity.toFixed(3)].filter((part) => part !== undefined).join(", ")}</span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
