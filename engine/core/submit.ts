/** Submission of kernels in command buffers of bounded length. */
import { type Device, throwIfFailed } from "./device.js";
import { encodeDispatch, type Row } from "./rows.js";
import { withTimeout } from "./with-timeout.js";

/** Dispatches of a command buffer before their times are known. */
const UNTIMED_DISPATCHES = 16;
/** Maximum dispatches of a command buffer; the device works on one while the host encodes the next. */
const MAX_DISPATCHES = 128;
/**
 * Maximum milliseconds of a command buffer. Drivers reset a device that works on one for long: Windows after 2 seconds
 * (https://learn.microsoft.com/windows-hardware/drivers/display/timeout-detection-and-recovery).
 */
const MAX_MS = 250;

/** Consecutive kernels, and the milliseconds that they took together. */
export interface Timed<Kernel> {
  readonly kernels: readonly Kernel[];
  readonly ms: number;
}

/** Returns a function that submits kernels. Its first call times them in small parts, later ones submit larger parts by these times. */
export function createSubmitter(device: Device): (rows: readonly Row[]) => Promise<void> {
  const partsOf = new Map<readonly Row[], readonly (readonly Row[])[]>();
  return async (rows) => {
    const parts = partsOf.get(rows);
    if (parts) for (const part of parts) submit(device, part);
    else if (rows.length <= UNTIMED_DISPATCHES) submit(device, rows);
    else partsOf.set(rows, joinParts(await submitTimed(device, rows)));
  };
}

async function submitTimed(device: Device, rows: readonly Row[]): Promise<readonly Timed<Row>[]> {
  const done = () => withTimeout(device, device.gpu.queue.onSubmittedWorkDone());
  const timed: Timed<Row>[] = [];
  await done();
  for (let from = 0; from < rows.length; from += UNTIMED_DISPATCHES) {
    const kernels = rows.slice(from, from + UNTIMED_DISPATCHES);
    const beganMs = performance.now();
    submit(device, kernels);
    await done();
    throwIfFailed(device);
    timed.push({ kernels, ms: performance.now() - beganMs });
  }
  return timed;
}

/** Joins consecutive parts as long as a command buffer may hold them, and splits parts that take too long. */
export function joinParts<Kernel>(timed: readonly Timed<Kernel>[]): readonly (readonly Kernel[])[] {
  const parts: { kernels: Kernel[]; ms: number }[] = [];
  for (const { kernels, ms } of timed.flatMap(splitLong)) {
    const last = parts.at(-1);
    if (last && last.ms + ms <= MAX_MS && last.kernels.length + kernels.length <= MAX_DISPATCHES) {
      last.kernels.push(...kernels);
      last.ms += ms;
    } else parts.push({ kernels: [...kernels], ms });
  }
  return parts.map(({ kernels }) => kernels);
}

/** Splits kernels that take too long for one command buffer evenly; one kernel alone cannot be split. */
function splitLong<Kernel>({ kernels, ms }: Timed<Kernel>): readonly Timed<Kernel>[] {
  const length = Math.max(1, Math.floor(kernels.length / Math.ceil(ms / MAX_MS)));
  const parts = Math.ceil(kernels.length / length);
  return Array.from({ length: parts }, (_, i) => ({
    kernels: kernels.slice(i * length, (i + 1) * length),
    ms: ms / parts,
  }));
}

/** Submits kernels in one command buffer. */
function submit({ gpu }: Device, rows: readonly Row[]): void {
  const encoder = gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  let pipeline: GPUComputePipeline | undefined;
  for (const row of rows) {
    encodeDispatch(pass, row, pipeline);
    ({ pipeline } = row);
  }
  pass.end();
  gpu.queue.submit([encoder.finish()]);
}
