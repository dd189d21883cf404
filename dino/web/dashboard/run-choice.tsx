/** Selects the run of a section if there are several. */
import type { FetchedRun } from "./run-client.js";

interface RunChoiceProps {
  readonly id: string;
  readonly runs: readonly FetchedRun[];
  readonly run: FetchedRun;
  readonly choose: (name: string) => void;
}

export function RunChoice({ id, runs, run, choose }: RunChoiceProps) {
  if (runs.length < 2) return null;
  return (
    <>
      <label for={id}>Run</label>
      <select id={id} value={run.state.name} onChange={({ currentTarget: { value } }) => choose(value)}>
        {runs.map(({ state: { name } }) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </>
  );
}
