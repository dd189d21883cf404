/** The selected images: a list, and downloads. */
import { formatCsv } from "../../files/csv.js";
import { Thumbnail } from "./pictures.js";
import type { MapData } from "./source.js";
import type { ThumbnailStore } from "./thumbnail-store.js";

interface SelectionPanelProps {
  readonly data: MapData;
  readonly store: ThumbnailStore;
  readonly labels: ReadonlyMap<number, string>;
  readonly selection: ReadonlySet<number>;
  readonly select: (rows: ReadonlySet<number>) => void;
  readonly show: (row: number) => void;
  readonly isLasso: boolean;
  readonly setLasso: (is: boolean) => void;
}

/** Images of the list; all of them are in the downloads. */
const MOST_LISTED = 60;

export function SelectionPanel(props: SelectionPanelProps) {
  const { data, store, selection, select, show, isLasso, setLasso } = props;
  const { files } = data;
  const rows = [...selection].sort((a, b) => a - b);
  return (
    <section aria-labelledby="selection">
      <h2 id="selection">Selection</h2>
      <div class="controls">
        <button type="button" aria-pressed={isLasso} onClick={() => setLasso(!isLasso)}>
          Lasso
        </button>
        {rows.length > 0 && (
          <button type="button" onClick={() => select(new Set())}>
            Clear
          </button>
        )}
        <span class="quiet">
          {rows.length > 0
            ? `${rows.length.toLocaleString("en")} images`
            : "draw around images, or press S for all in view"}
        </span>
      </div>
      {rows.length > 0 && (
        <>
          <div class="controls">
            {downloads(props, rows).map(({ title, name, text }) => (
              <button type="button" key={title} onClick={() => download(name, text())}>
                {title}
              </button>
            ))}
          </div>
          <ul class="thumbnails small">
            {rows.slice(0, MOST_LISTED).map((row) => (
              <li key={row}>
                <button type="button" title={files[row]} onClick={() => show(row)}>
                  <Thumbnail row={row} name={files[row]!} store={store} />
                </button>
              </li>
            ))}
          </ul>
          {rows.length > MOST_LISTED && <p class="quiet">and {rows.length - MOST_LISTED} more</p>}
        </>
      )}
    </section>
  );
}

function downloads({ data: { facts, files, columns }, labels }: SelectionPanelProps, rows: readonly number[]) {
  const valueOf = (column: (typeof columns)[number], row: number): string | number =>
    column.kind === "names" ? (column.names[column.codes[row]!] ?? "") : (column.numbers[row] ?? "");
  const records = () =>
    rows.map((row) => ({
      file: files[row]!,
      label: labels.get(row) ?? "",
      ...Object.fromEntries(columns.map((column) => [column.name, valueOf(column, row)])),
    }));
  const titles = ["file", "label", ...columns.map(({ name }) => name)];
  const csv = () =>
    formatCsv([
      titles,
      ...rows.map((row) => [files[row]!, labels.get(row) ?? "", ...columns.map((column) => valueOf(column, row))]),
    ]);
  const list = () => rows.map((row) => `${facts.data}/${files[row]!}\n`).join("");
  return [
    { title: "CSV", name: `${facts.title}.csv`, text: csv },
    { title: "JSON", name: `${facts.title}.json`, text: () => `${JSON.stringify(records(), undefined, 1)}\n` },
    { title: "List of files", name: `${facts.title}.txt`, text: list },
  ];
}

function download(name: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text]));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
