import { type Device, OutOfMemoryError, throwIfFailed } from "./device.js";
import {
  BYTES_PER_ELEMENT,
  bytesOf,
  checkShape,
  formatShape,
  type HostDType,
  type Resident,
  type Shape,
  sizeOf,
  type Tensor,
} from "./tensor.js";
import { withTimeout } from "./with-timeout.js";

/** Allocates a buffer that kernels can bind. Throws if `bytes` exceed the adapter's limit; a refusal by the driver fails the device later. */
export function allocate(device: Device, bytes: number, label: string): GPUBuffer {
  throwIfFailed(device);
  const limit = device.limits.maxBufferSize;
  if (bytes > limit) {
    throw new OutOfMemoryError(
      `out of memory: ${label} needs ${bytes} bytes in one buffer; ${device.name} allows ${limit}`,
    );
  }
  device.gpu.pushErrorScope("out-of-memory");
  const buffer = device.gpu.createBuffer({
    label,
    size: Math.max(bytes, BYTES_PER_ELEMENT),
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  device.gpu.popErrorScope().then(
    (error) => {
      if (error)
        device.fail(new OutOfMemoryError(`out of memory: ${label} asked for ${bytes} bytes: ${error.message}`));
    },
    () => undefined, // the device is gone, which `throwIfFailed` reports
  );
  return buffer;
}

/** A tensor that the host writes; each `run()` sees the latest values. */
export interface Input extends Tensor, Disposable {
  /** Writes all elements, row-major. Throws for a wrong number of values. */
  write(values: ArrayLike<number>): void;
}

/** Creates a resident tensor of zeros. */
export function input(
  device: Device,
  shape: Shape,
  options: { readonly dtype?: HostDType; readonly label?: string } = {},
): Input {
  const { dtype = "f32", label = "input" } = options;
  checkShape(label, shape);
  const buffer = allocate(device, sizeOf(shape) * BYTES_PER_ELEMENT, label);
  const storage: Resident = { kind: "resident", device, buffer, label };
  const tensor: Tensor = { shape, dtype, storage, offset: 0 };
  return {
    ...tensor,
    write: (values) => upload(tensor, values),
    [Symbol.dispose]: () => buffer.destroy(),
  };
}

/** Named scalars in one buffer: learning rates, momenta, temperatures. */
export type Scalars<Names extends string> = Readonly<Record<Names, Tensor>> &
  Disposable & {
    /** Writes all scalars. */
    write(values: Readonly<Record<Names, number>>): void;
  };

/** Creates one resident scalar `[]` per name; each may change on every run. */
export function scalars<const Names extends string>(device: Device, ...names: readonly Names[]): Scalars<Names> {
  const stride = device.limits.minStorageBufferOffsetAlignment / BYTES_PER_ELEMENT;
  const all = input(device, [names.length * stride], { label: "scalars" });
  const values = new Float32Array(names.length * stride);
  const views = names.map((name, i): [string, Tensor] => {
    const storage: Resident = { ...(all.storage as Resident), label: name };
    return [name, { shape: [], dtype: "f32", storage, offset: i * stride * BYTES_PER_ELEMENT }];
  });
  return {
    ...(Object.fromEntries(views) as Record<Names, Tensor>),
    write(scalarValues: Readonly<Record<Names, number>>) {
      names.forEach((name, i) => {
        const value = scalarValues[name];
        if (!Number.isFinite(value)) throw new Error(`scalars ${name}: expected a finite number, got ${value}`);
        values[i * stride] = value;
      });
      all.write(values);
    },
    [Symbol.dispose]: () => all[Symbol.dispose](),
  };
}

/** Writes the elements of a resident tensor. Throws for a wrong number of values and for transient tensors. */
export function upload({ storage, shape, dtype, offset }: Tensor, values: ArrayLike<number>): void {
  if (storage.kind !== "resident")
    throw new Error(`upload: ${storage.label} lives inside a recording; write to an input instead`);
  throwIfFailed(storage.device);
  if (values.length !== sizeOf(shape)) {
    throw new Error(`${storage.label}: ${formatShape(shape)} takes ${sizeOf(shape)} values, got ${values.length}`);
  }
  const typed = dtype === "f32" ? asArray(Float32Array, values) : asArray(Uint32Array, values);
  storage.device.gpu.queue.writeBuffer(storage.buffer, offset, typed);
}

function asArray<T extends Float32Array | Uint32Array>(
  type: { new (values: ArrayLike<number>): T },
  values: ArrayLike<number>,
): T & { readonly buffer: ArrayBuffer } {
  const usable = values instanceof type && values.buffer instanceof ArrayBuffer; // Dawn refuses shared memory
  return (usable ? values : new type(values)) as T & { readonly buffer: ArrayBuffer };
}

/** Reads the elements of a resident f32 tensor, after all work submitted so far. */
export async function download(x: Tensor): Promise<Float32Array> {
  const { storage, offset } = x;
  if (storage.kind !== "resident")
    throw new Error(`download: ${storage.label} lives inside a recording; return it from record()`);
  const { device, buffer } = storage;
  throwIfFailed(device);
  const staging = device.gpu.createBuffer({
    label: `staging of ${storage.label}`,
    size: bytesOf(x),
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  try {
    return await copyOut(device, buffer, offset, staging);
  } finally {
    staging.destroy();
  }
}

/** Copies `buffer` from `offset` on into `staging`, and returns its values. */
export async function copyOut(
  device: Device,
  buffer: GPUBuffer,
  offset: number,
  staging: GPUBuffer,
): Promise<Float32Array> {
  const encoder = device.gpu.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, offset, staging, 0, staging.size);
  device.gpu.queue.submit([encoder.finish()]);
  try {
    await withTimeout(device, staging.mapAsync(GPUMapMode.READ));
  } catch (error) {
    throwIfFailed(device);
    throw error;
  }
  const values = new Float32Array(staging.getMappedRange().slice(0));
  staging.unmap();
  throwIfFailed(device);
  return values;
}
