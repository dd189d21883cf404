/** Curves of the shown runs, overlaid. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { type RunLines, curvesOf, formatNumber, type CurvePanel } from "./panels.js";
import type { FetchedRun } from "./run-client.js";

/** A run with the index of its colour. */
export interface Shown {
  readonly run: RunLines & { readonly state: Pick<FetchedRun["state"], "name"> };
  readonly color: number;
}

export const COLORS = 8;
const HEIGHT = 190;
/** uPlot's constant for logarithmic scales. */
const LOGARITHMIC = 3 as unknown as uPlot.Scale.Distr;
const DASHES = [[], [6, 4], [2, 3]] as const;

interface CurvesProps {
  readonly panels: readonly CurvePanel[];
  readonly shown: readonly Shown[];
}

export function Curves({ panels, shown }: CurvesProps) {
  const isDark = useDark();
  const runs = shown.map(({ run }) => run);
  const used = panels.filter((panel) => panel.onlyWithData !== true || curvesOf(panel, runs)[0].length > 0);
  return (
    <section aria-labelledby="curves">
      <h2 id="curves">Curves</h2>
      <div class="panels">
        {used.map((panel) => (
          <Curve key={panel.title} {...{ panel, shown, isDark }} />
        ))}
      </div>
    </section>
  );
}

interface CurveProps {
  readonly panel: CurvePanel;
  readonly shown: readonly Shown[];
  readonly isDark: boolean;
}

function Curve({ panel, shown, isDark }: CurveProps) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const data = useMemo(
    () =>
      curvesOf(
        panel,
        shown.map(({ run }) => run),
      ),
    [panel, shown],
  );
  const isEmpty = data[0].length === 0;
  const names = shown.map(({ run, color }) => `${run.state.name} ${color}`).join("\n");

  useEffect(() => {
    const element = holder.current!;
    const made = new uPlot(optionsOf({ panel, shown, width: element.clientWidth }), data, element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [panel, names, isDark]);
  useEffect(() => plot.current?.setData(data), [data]);

  return (
    <figure class="panel">
      <figcaption>
        <h3>{panel.title}</h3> <span class="quiet">{panel.unit}</span>
        {panel.quantities.length > 1 && (
          <ul class="dashes">
            {panel.quantities.map(({ name }, i) => (
              <li key={name}>
                <svg width="22" height="8" aria-hidden="true">
                  <line x1="0" y1="4" x2="22" y2="4" stroke-dasharray={DASHES[i]!.join(" ")} />
                </svg>
                {name}
              </li>
            ))}
          </ul>
        )}
      </figcaption>
      <div
        class="plot"
        ref={holder}
        role="img"
        tabIndex={0}
        aria-label={describe(panel, data, shown)}
        onKeyDown={(event) => step(plot.current!, event)}
        onBlur={() => plot.current?.setCursor({ left: -10, top: -10 })}
      />
      {isEmpty && <p class="otherwise">{panel.emptyText ?? "Nothing logged yet."}</p>}
    </figure>
  );
}

/** Whether the system prefers dark pages. */
function useDark(): boolean {
  const query = useMemo(() => matchMedia("(prefers-color-scheme: dark)"), []);
  const [isDark, setDark] = useState(query.matches);
  useEffect(() => {
    const change = () => setDark(query.matches);
    query.addEventListener("change", change);
    return () => query.removeEventListener("change", change);
  }, [query]);
  return isDark;
}

/** Describes the last value of every curve, for screen readers. */
function describe(panel: CurvePanel, data: uPlot.AlignedData, shown: readonly Shown[]): string {
  const [steps, ...curves] = data;
  const words = curves.flatMap((values, i) => {
    const last = values.findLastIndex((value) => typeof value === "number");
    if (last < 0) return [];
    return [`${nameOf(panel, shown, i)} ${formatNumber(values[last]!)} at step ${steps[last]!}`];
  });
  return `${panel.title}: ${words.length > 0 ? words.join("; ") : "nothing yet"}`;
}

/** Returns the name of a curve by its index in the data. */
function nameOf({ quantities }: CurvePanel, shown: readonly Shown[], curve: number): string {
  const { run } = shown[Math.floor(curve / quantities.length)]!;
  const { name } = quantities[curve % quantities.length]!;
  const parts = [...(shown.length > 1 ? [run.state.name] : []), ...(quantities.length > 1 ? [name] : [])];
  return parts.join(", ") || name;
}

/** Moves the cursor by arrow keys, like the mouse. */
function step(plot: uPlot, event: KeyboardEvent): void {
  const direction = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
  const steps = plot.data[0];
  if (direction === 0 || steps.length === 0) return;
  event.preventDefault();
  const at = plot.cursor.idx ?? (direction > 0 ? -1 : steps.length);
  const next = Math.min(steps.length - 1, Math.max(0, at + direction));
  plot.setCursor({ left: plot.valToPos(steps[next]!, "x"), top: 0 });
}

interface Plotted {
  readonly panel: CurvePanel;
  readonly shown: readonly Shown[];
  readonly width: number;
}

function optionsOf({ panel, shown, width }: Plotted): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const color = (name: string): string => style.getPropertyValue(name).trim();
  const [text, grid] = [color("--quiet"), color("--line")];
  const axis: uPlot.Axis = {
    stroke: text,
    font: "11px system-ui, sans-serif",
    grid: { stroke: grid, width: 1 },
    ticks: { stroke: grid, width: 1, size: 4 },
  };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    padding: [10, 12, 0, 0],
    cursor: { sync: { key: "steps", setSeries: false }, drag: { x: true, y: false }, points: { size: 7 } },
    scales: { x: { time: false }, y: panel.logarithmic ? { distr: LOGARITHMIC } : {} },
    axes: [
      { ...axis, size: 30 },
      {
        ...axis,
        size: 56,
        values: (_, ticks) => ticks.map((tick) => (Number.isFinite(tick) ? formatNumber(tick) : "")),
      },
    ],
    series: [
      {},
      ...shown.flatMap(({ run, color: number }) =>
        panel.quantities.map((quantity, i): uPlot.Series => ({
          label: `${run.state.name} ${quantity.name}`,
          stroke: color(`--run-${number}`),
          width: 1.6,
          dash: [...DASHES[i]!],
          points: quantity.line === "evaluation" ? { show: true, size: 5 } : {},
        })),
      ),
    ],
    plugins: [readout(panel, shown)],
  };
}

/** Shows the values at the cursor beside it. */
function readout(panel: CurvePanel, shown: readonly Shown[]): uPlot.Plugin {
  const box = document.createElement("div");
  box.className = "readout";
  box.hidden = true;
  return {
    hooks: {
      init: ({ over }) => over.append(box),
      setCursor: ({ cursor, data: [steps, ...curves], over }) => {
        const { idx, left = -1 } = cursor;
        box.hidden = typeof idx !== "number" || left < 0;
        if (box.hidden) return;
        const lines = curves.map((values, i) => {
          const value = Array.from(values.slice(0, idx! + 1)).findLast((known) => typeof known === "number");
          const line = document.createElement("div");
          line.className = `run-${shown[Math.floor(i / panel.quantities.length)]!.color}`;
          line.textContent = `${nameOf(panel, shown, i)} ${value === undefined ? "-" : formatNumber(value)}`;
          return line;
        });
        box.replaceChildren(`step ${steps[idx!]!}`, ...lines);
        const isRight = left > over.clientWidth / 2;
        box.style.left = isRight ? "auto" : `${left + 12}px`;
        box.style.right = isRight ? `${over.clientWidth - left + 12}px` : "auto";
      },
    },
  };
}
