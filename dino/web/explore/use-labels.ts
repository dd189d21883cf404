/** The labels that the visitor gives, kept by the server at once. */
import { useCallback, useMemo, useRef, useState } from "preact/hooks";
import type { RowLabels } from "../../explorer/api.js";
import type { Attempts } from "../shell/use-trouble.js";
import { keepLabels, type MapData } from "./source.js";

export interface LabelState {
  readonly byRow: ReadonlyMap<number, string>;
  /** Names in use, in the order of their first use. */
  readonly names: readonly string[];
  readonly give: (rows: readonly number[], label: string | null) => Promise<void>;
  /** Takes the last change back. */
  readonly undo: () => Promise<void>;
  readonly canUndo: boolean;
}

export function useLabels({ labels: first }: MapData, attempt: Attempts["attempt"]): LabelState {
  const [kept, setKept] = useState<RowLabels>(first);
  const [known, setKnown] = useState<readonly string[]>([]);
  const changes = useRef<RowLabels[]>([]);
  const byRow = useMemo(
    () => new Map(kept.flatMap(({ row, label }) => (label === null ? [] : [[row, label] as const]))),
    [kept],
  );
  const names = useMemo(() => [...new Set([...known, ...byRow.values()])], [known, byRow]);
  const keep = useCallback((changed: RowLabels) => attempt(async () => setKept(await keepLabels(changed))), [attempt]);
  return {
    byRow,
    names,
    canUndo: changes.current.length > 0,
    give: async (rows, label) => {
      changes.current.push(rows.map((row) => ({ row, label: byRow.get(row) ?? null })));
      if (label !== null) setKnown((before) => [...new Set([...before, ...byRow.values(), label])]);
      await keep(rows.map((row) => ({ row, label })));
    },
    undo: async () => {
      const last = changes.current.pop();
      if (last) await keep(last);
    },
  };
}
