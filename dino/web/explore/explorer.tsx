/** Map and panels, and the state that they share. */
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { pictureLevels } from "../../explorer/picture-levels.js";
import { DropArea } from "../shell/drop-area.js";
import { TroubleNote } from "../shell/trouble-note.js";
import { useAttempts } from "../shell/use-trouble.js";
import { ColorPanel } from "./color-panel.js";
import { DetailPanel } from "./detail-panel.js";
import { LabelPanel } from "./label-panel.js";
import { MapCanvas, type MapHandle } from "./map-canvas.js";
import { SearchPanel } from "./search-panel.js";
import { SelectionPanel } from "./selection-panel.js";
import { type MapData, readGroup } from "./source.js";
import { openThumbnailStore } from "./thumbnail-store.js";
import { useColoring } from "./use-coloring.js";
import { useLabelling } from "./use-labelling.js";
import { useLabels } from "./use-labels.js";
import { useSearch } from "./use-search.js";

/** The column that colours show once labels are suggested. */
const SUGGESTED = "suggested label";

export function Explorer({ data: read }: { readonly data: MapData }) {
  const { facts, places, files } = read;
  const attempts = useAttempts();
  const { trouble, setTrouble, attempt } = attempts;
  const map = useRef<MapHandle>(null);
  const levels = useMemo(() => pictureLevels(places), [places]);
  const store = useMemo(
    () =>
      openThumbnailStore(levels, {
        groupRows: facts.groupRows,
        read: (group) => readGroup(group, facts.version),
        onArrival: () => map.current?.redraw(),
        onError: (error) => setTrouble({ message: (error as Error).message, advice: "", isOfDevice: false }),
      }),
    [levels],
  );
  const [pointed, point] = useState<number>();
  const [pinned, pin] = useState<number>();
  const [selection, select] = useState<ReadonlySet<number>>(new Set());
  const [isLasso, setLasso] = useState(false);
  const search = useSearch(attempt);
  const shown = pinned ?? pointed;
  const show = useCallback((row: number) => {
    pin(row);
    map.current?.goTo(row);
  }, []);
  const onSuggested = () => coloring.choose(SUGGESTED);
  const labels = useLabelling(useLabels(read, attempt), { attempt, show, onSuggested });
  const suggested = labels.suggestions?.columns;
  const data = useMemo(() => ({ ...read, columns: [...read.columns, ...(suggested ?? [])] }), [read, suggested]);
  const coloring = useColoring(data, { labels: labels.byRow, pointed: shown, attempt });
  const labelled = selection.size > 0 ? [...selection] : pinned === undefined ? [] : [pinned];
  useLabelKeys(labels, labelled);

  return (
    <DropArea pick={(file, name) => void search.find(file, name)}>
      {trouble && <TroubleNote trouble={trouble} />}
      <div class="explorer">
        <MapCanvas
          {...{ places, levels, store, coloring, selection, select, point, isLasso, setLasso, setTrouble }}
          handle={map}
          pinned={pinned}
          pin={pin}
          found={search.result?.map(({ row }) => row) ?? []}
        />
        <div class="panels">
          <ColorPanel {...{ coloring, files, store, show, select }} />
          <DetailPanel
            {...{ data, store, coloring, labels, show }}
            row={shown}
            isPinned={pinned !== undefined}
            release={() => pin(undefined)}
          />
          {facts.isLive && <SearchPanel {...{ search, store, files, show }} />}
          <SelectionPanel {...{ data, store, selection, select, show, isLasso, setLasso }} labels={labels.byRow} />
          {facts.isLive && <LabelPanel labels={labels} rows={labelled} />}
        </div>
      </div>
    </DropArea>
  );
}

/** Labels by the keys 1 to 9, and takes labels back by u, wherever no text is typed. */
function useLabelKeys({ names, give, undo }: ReturnType<typeof useLabels>, rows: readonly number[]): void {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const { target, key, ctrlKey, metaKey, altKey } = event;
      if (ctrlKey || metaKey || altKey || (target as HTMLElement).matches("input, select, textarea")) return;
      const name = /^[1-9]$/.test(key) ? names[Number(key) - 1] : undefined;
      if (name !== undefined && rows.length > 0) void give(rows, name);
      if (key === "u") void undo();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  });
}
