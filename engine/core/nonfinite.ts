/** Search for the first NaN or infinity of a run. */
import type { Device } from "./device.js";
import { elementGrid, kernel } from "./kernel.js";
import { allocate, copyOut } from "./memory.js";
import { trace } from "./recording.js";
import { compile, encodeDispatch, type Row } from "./rows.js";
import { type Resident, sizeOf, type Tensor, type Transient } from "./tensor.js";

/** First NaN or infinity of a run. */
export interface NonFinite {
  /** Kernel and binding that wrote it, or the name of the input that held it. */
  readonly where: string;
  readonly shape: readonly number[];
  /** Index of the dispatch; -1 for an input. */
  readonly dispatch: number;
}

const nonFinite = kernel("nonfinite", { reads: ["x"], writes: [], updates: ["found"], constants: [] });

const nonFiniteHalf = kernel("nonfinite-f16", { reads: ["x"], writes: [], updates: ["found"], constants: ["ODD"] });

/** Runs the dispatches and returns the first NaN or infinity: in resident tensors before the run, then in the outputs of each dispatch. */
export async function check(
  device: Device,
  rows: readonly Row[],
  bufferOf: ReadonlyMap<Transient, GPUBuffer>,
): Promise<NonFinite | undefined> {
  const stride = device.limits.minStorageBufferOffsetAlignment;
  const probes: { finding: NonFinite; x: Tensor; after: number }[] = [];
  const probed = new Map<GPUBuffer, Set<number>>();
  rows.forEach(({ dispatch: { kernel: launched, tensors } }, index) => {
    for (const { name, access } of launched.bindings) {
      const x = tensors[name]!;
      if (x.dtype === "u32") continue;
      const { storage } = x;
      if (storage.kind === "resident" && access !== "write" && !probed.get(storage.buffer)?.has(x.offset)) {
        probed.set(storage.buffer, (probed.get(storage.buffer) ?? new Set()).add(x.offset));
        probes.push({
          finding: { where: `${storage.label} (as it came in)`, shape: x.shape, dispatch: -1 },
          x,
          after: -1,
        });
      }
      if (access !== "read")
        probes.push({
          finding: { where: `${launched.file}: ${name}`, shape: x.shape, dispatch: index },
          x,
          after: index,
        });
    }
  });
  probes.sort((a, b) => a.after - b.after);

  const found = allocate(device, probes.length * stride, "check");
  try {
    const storage: Resident = { kind: "resident", device, buffer: found, label: "check" };
    const { recording } = trace(device, () =>
      probes.forEach(({ x }, i) => {
        const size = sizeOf(x.shape);
        const tensors = { x, found: { shape: [], dtype: "u32", storage, offset: i * stride } } as const;
        if (x.dtype === "f16") nonFiniteHalf(tensors, { ODD: size % 2 }, elementGrid(size));
        else nonFinite(tensors, {}, elementGrid(size));
      }),
    );
    const probeRows = await compile(device, recording.dispatches, bufferOf);
    const encoder = device.gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let index = -1; index < rows.length; index++) {
      if (index >= 0) encodeDispatch(pass, rows[index]!);
      probes.forEach(({ after }, i) => after === index && encodeDispatch(pass, probeRows[i]!));
    }
    pass.end();
    device.gpu.queue.submit([encoder.finish()]);
    const target = device.gpu.createBuffer({
      size: found.size,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    const flags = new Uint32Array((await copyOut(device, found, 0, target)).buffer);
    target.destroy();
    return probes.find((_, i) => flags[(i * stride) / 4] !== 0)?.finding;
  } finally {
    found.destroy();
  }
}
