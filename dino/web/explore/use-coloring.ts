/** What points are coloured by, as the visitor chooses. */
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Column } from "../../explorer/api.js";
import type { Attempts } from "../shell/use-trouble.js";
import { type Coloring, coloringBy, coloringBySimilarity, plain } from "./colors.js";
import { type MapData, readSimilarities } from "./source.js";

export interface ColoringState extends Coloring {
  readonly choices: readonly string[];
  readonly chosen: string;
  readonly choose: (name: string) => void;
}

const NOTHING = "nothing";
const LABELS = "your labels";
const SIMILARITY = "similarity to the image pointed at";

interface Standing {
  readonly labels: ReadonlyMap<number, string>;
  readonly pointed: number | undefined;
  readonly attempt: Attempts["attempt"];
}

export function useColoring({ facts, columns }: MapData, { labels, pointed, attempt }: Standing): ColoringState {
  const choices = [
    ...columns.map(({ name }) => name),
    ...(facts.isLive ? [SIMILARITY] : []),
    ...(facts.isLive || labels.size > 0 ? [LABELS] : []),
    NOTHING,
  ];
  const [chosen, choose] = useState(columns[0]?.name ?? NOTHING);
  const [similarities, setSimilarities] = useState<Float32Array>();
  useEffect(() => {
    if (chosen !== SIMILARITY || pointed === undefined) return;
    const timer = setTimeout(() => {
      void attempt(async () => setSimilarities(await readSimilarities(pointed)));
    }, 80);
    return () => clearTimeout(timer);
  }, [chosen, pointed, attempt]);
  const labelsIfChosen = chosen === LABELS ? labels : undefined;
  const coloring = useMemo(() => {
    if (chosen === SIMILARITY) return similarities ? coloringBySimilarity(similarities) : plain;
    if (labelsIfChosen) return coloringBy(labelColumn(facts.rows, labelsIfChosen));
    const column = columns.find(({ name }) => name === chosen);
    return column ? coloringBy(column) : plain;
  }, [chosen, similarities, labelsIfChosen, columns]);
  return { ...coloring, choices, chosen, choose };
}

function labelColumn(rows: number, labels: ReadonlyMap<number, string>): Column {
  const names = [...new Set(labels.values())];
  const codes = Array.from({ length: rows }, (_, row) => {
    const label = labels.get(row);
    return label === undefined ? -1 : names.indexOf(label);
  });
  return { kind: "names", name: LABELS, names, codes };
}
