/** The stages of a run: kernels, and between them what the host does. */
import { createCrossing, type Crossing, type Place, readyAfter } from "./crossing.js";
import type { Device } from "./device.js";
import type { Dispatch } from "./recording.js";
import { bytesOf, type Tensor } from "./tensor.js";

/** Kernels in a row, or numbers that leave for the host, or those that come back from there. */
export type Stage<Row> =
  | { readonly kind: "kernels"; readonly rows: readonly Row[] }
  | { readonly kind: "leaving"; readonly crossing: Crossing }
  | { readonly kind: "coming"; readonly crossing: Crossing };

/** Cuts a program where numbers leave for the host and where they come back; `rows` are its kernels, ready to run. */
export function stagesOf<Row>(
  device: Device,
  dispatches: readonly Dispatch[],
  rows: readonly Row[],
  placeOf: (x: Tensor) => Omit<Place, "bytes">,
): readonly Stage<Row>[] {
  const stages: Stage<Row>[] = [];
  const kernels: Row[] = [];
  const cut = (kind: "leaving" | "coming", crossing: Crossing): void => {
    if (kernels.length > 0) stages.push({ kind: "kernels", rows: kernels.splice(0) });
    stages.push({ kind, crossing });
  };
  const crossings = dispatches.map(({ work, tensors: { from, to, x } }) => {
    const place = (x: Tensor): Place => ({ ...placeOf(x), bytes: bytesOf(x) });
    return work && createCrossing(device, { from: place((from ?? x)!), to: place((to ?? x)!), work });
  });
  const leavingAfter = new Map<number, Crossing[]>();
  crossings.forEach((crossing, index) => {
    if (!crossing) return;
    const ready = readyAfter(dispatches, index);
    leavingAfter.set(ready, [...(leavingAfter.get(ready) ?? []), crossing]);
  });
  const upcoming = rows.values();
  for (let index = -1; index < dispatches.length; index++) {
    const crossing = crossings[index];
    if (crossing) cut("coming", crossing);
    else if (index >= 0) kernels.push(upcoming.next().value!);
    for (const leaving of leavingAfter.get(index) ?? []) cut("leaving", leaving);
  }
  if (kernels.length > 0) stages.push({ kind: "kernels", rows: kernels });
  return stages;
}

/**
 * Goes through the stages in order, where `launch` submits kernels. Tells `onWaited` of each time, in milliseconds, that the
 * host was at work and nothing was under way to it any more, so that the device had nothing left to do.
 */
export async function goThrough<Row>(
  stages: readonly Stage<Row>[],
  launch: (rows: readonly Row[]) => void | Promise<void>,
  onWaited: (ms: number) => void,
): Promise<void> {
  const crossings = stages.flatMap((stage) => (stage.kind === "leaving" ? [stage.crossing] : []));
  for (const stage of stages) {
    switch (stage.kind) {
      case "kernels":
        await launch(stage.rows);
        break;
      case "leaving":
        stage.crossing.leave();
        break;
      case "coming": {
        const { beganMs, endedMs } = await stage.crossing.comeBack();
        onWaited(Math.max(0, endedMs - Math.max(beganMs, ...crossings.map((crossing) => crossing.cameMs()))));
        break;
      }
      default:
        stage satisfies never;
    }
  }
}
