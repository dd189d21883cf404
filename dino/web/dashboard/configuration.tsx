/** Settings of the shown runs, with those that differ first. */
import type { FetchedRun } from "./run-client.js";

/** Settings that always differ. */
const OWN: ReadonlySet<string> = new Set(["out"]);

export function Configuration({ runs }: { readonly runs: readonly FetchedRun[] }) {
  const settings = [...new Set(runs.flatMap(({ config }) => Object.keys(config)))];
  const rows = settings.map((name) => {
    const values = runs.map(({ config }) => formatSetting((config as Readonly<Record<string, unknown>>)[name]));
    return { name, values, differs: !OWN.has(name) && new Set(values.filter((value) => value !== "")).size > 1 };
  });
  const different = rows.filter(({ differs }) => differs);
  return (
    <section aria-labelledby="configuration">
      <h2 id="configuration">Configuration</h2>
      {runs.length > 1 && (
        <p class="quiet">
          {different.length === 0 ? "The runs do not differ." : `The runs differ in ${different.length} settings.`}
        </p>
      )}
      {different.length > 0 && <Settings runs={runs} rows={different} label="settings that differ" />}
      {runs.length > 0 && (
        <details>
          <summary>All {rows.length} settings</summary>
          <Settings runs={runs} rows={rows} label="all settings" />
        </details>
      )}
    </section>
  );
}

interface Row {
  readonly name: string;
  readonly values: readonly string[];
  readonly differs: boolean;
}

interface SettingsProps {
  readonly runs: readonly FetchedRun[];
  readonly rows: readonly Row[];
  readonly label: string;
}

function Settings({ runs, rows, label }: SettingsProps) {
  return (
    <div class="scroll" role="region" tabIndex={0} aria-label={label}>
      <table>
        <thead>
          <tr>
            <th scope="col">Setting</th>
            {runs.map(({ state: { name } }) => (
              <th scope="col" key={name}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ name, values, differs }) => (
            <tr key={name} class={differs ? "differs" : ""}>
              <th scope="row">
                {name}
                {differs && <span class="mark"> differs</span>}
              </th>
              {values.map((value, i) => (
                <td key={i}>{value}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Formats a setting briefly; empty if the run lacks it. */
function formatSetting(value: unknown): string {
  if (value === undefined) return "";
  if (value === null) return "auto";
  if (Array.isArray(value)) return value.map((entry) => formatSetting(entry)).join(" ");
  if (typeof value === "number") return `${Number(value.toPrecision(4))}`;
  if (typeof value !== "object") return `${value as string | boolean}`;
  const { rows, cols, ...rest } = value as Readonly<Record<string, unknown>>;
  const isSize = rows !== undefined && Object.keys(rest).length === 0;
  return isSize ? `${rows as number} x ${cols as number}` : JSON.stringify(value);
}
