import type { Device } from "./device.js";
import { type Binding, type Dispatch, type Grid, type Kernel, recording } from "./recording.js";
import { bytesOf, formatShape, offsetInOwner, owner, type Tensor } from "./tensor.js";

const MAX_GROUPS_PER_AXIS = 65535;

/** Bindings and constants of a WGSL file, by their WGSL names. */
export interface Declaration<Names extends string, Constants extends string> {
  /** Read-only bindings. */
  readonly reads: readonly Names[];
  /** Bindings that are fully written before they are read. */
  readonly writes: readonly Names[];
  /** Bindings that are read and written, or partly written. */
  readonly updates?: readonly Names[];
  readonly constants: readonly Constants[];
}

const declared: Kernel[] = [];

/** Returns all kernels declared so far. */
export function kernels(): readonly Kernel[] {
  return declared;
}

/**
 * Declares `shaders/FILE.wgsl` as a function that records one dispatch.
 * Binding names are the WGSL names; the first compilation compares file and declaration.
 */
export function kernel<const Names extends string, const Constants extends string>(
  file: string,
  declaration: Declaration<Names, Constants>,
): (tensors: Readonly<Record<Names, Tensor>>, constants: Readonly<Record<Constants, number>>, grid: Grid) => void {
  const bindings: Binding[] = [
    ...declaration.reads.map((name) => ({ name, access: "read" as const })),
    ...declaration.writes.map((name) => ({ name, access: "write" as const })),
    ...(declaration.updates ?? []).map((name) => ({ name, access: "update" as const })),
  ];
  const self: Kernel = { file, bindings, constants: declaration.constants };
  declared.push(self);
  return (tensors, constants, groups) => {
    const { device, dispatches, deciding } = recording(file);
    const dispatch: Dispatch = { kernel: self, tensors, constants, grid: groups, decision: deciding.what };
    checkDispatch(device, dispatch);
    for (const { name, access } of bindings) {
      const { storage } = tensors[name as Names];
      if (access !== "read" && storage.kind === "transient" && storage.label === "unwritten")
        storage.label = `${file} ${name}`;
    }
    dispatches.push(dispatch);
  };
}

function checkDispatch(device: Device, { kernel: used, tensors, constants, grid: groups }: Dispatch): void {
  const { maxStorageBuffersPerShaderStage: most } = device.limits;
  if (used.bindings.length > most) {
    throw new Error(`${used.file}: binds ${used.bindings.length} buffers; ${device.name} allows ${most} a kernel`);
  }
  for (const { name, access } of used.bindings) {
    const x = tensors[name]!;
    const limit = device.limits.maxStorageBufferBindingSize;
    if (bytesOf(x) > limit) {
      throw new Error(
        `${used.file}: ${name} ${formatShape(x.shape)} needs ${bytesOf(x)} bytes in one binding; ` +
          `${device.name} binds at most ${limit}. Use a smaller batch, image or number of prototypes`,
      );
    }
    if (x.storage.kind === "resident" && x.storage.device !== device) {
      throw new Error(`${used.file}: ${name} (${x.storage.label}) belongs to another device`);
    }
    if (access === "write" && x.storage.kind === "transient" && x.storage.inside) {
      throw new Error(`${used.file}: ${name} was placed inside ${owner(x.storage).label} and can't be written again`);
    }
  }
  refuseAliasing(used, tensors);
  for (const name of used.constants) {
    if (!Number.isFinite(constants[name])) throw new Error(`${used.file}: constant ${name} is ${constants[name]}`);
  }
  if (!groups.every((count) => Number.isInteger(count) && count >= 1 && count <= MAX_GROUPS_PER_AXIS)) {
    throw new Error(`${used.file}: grid [${groups.join(", ")}] leaves 1..${MAX_GROUPS_PER_AXIS} workgroups an axis`);
  }
}

/** Throws if a dispatch reads and writes one buffer, or writes the same bytes through two bindings, which WebGPU forbids. */
function refuseAliasing(used: Kernel, tensors: Readonly<Record<string, Tensor>>): void {
  used.bindings.forEach(({ name, access }, i) => {
    if (access === "read") return;
    used.bindings.forEach((other, j) => {
      const [a, b] = [tensors[name]!, tensors[other.name]!];
      if (i === j || bufferIdentity(a) !== bufferIdentity(b) || (other.access !== "read" && !overlap(a, b))) return;
      throw new Error(
        `${used.file}: ${other.name} and ${name} lie in one buffer (${a.storage.label}), and ${name} is written; copy one of them first`,
      );
    });
  });
}

function bufferIdentity({ storage }: Tensor): unknown {
  const root = owner(storage);
  return root.kind === "resident" ? root.buffer : root;
}

function overlap(a: Tensor, b: Tensor): boolean {
  const [startA, startB] = [offsetInOwner(a), offsetInOwner(b)];
  return startA < startB + bytesOf(b) && startB < startA + bytesOf(a);
}

/** Returns a grid of at least `groups` workgroups, folded over x and y; kernels compute `group.y * grid.x + group.x` and guard the excess. */
export function grid(groups: number): Grid {
  if (groups <= MAX_GROUPS_PER_AXIS) return [groups, 1, 1];
  const y = Math.ceil(groups / MAX_GROUPS_PER_AXIS);
  return [Math.ceil(groups / y), y, 1];
}

/** Threads per workgroup of element-wise kernels. */
const ELEMENT_LANES = 64;

/** Returns the grid of a kernel with one thread per element and 64 threads per workgroup. */
export function elementGrid(elements: number): Grid {
  return grid(Math.ceil(elements / ELEMENT_LANES));
}

/** Elements per workgroup in kernels that include `run.wgsl`. */
const RUN = 1024;

/** Returns the grid of a kernel with a run of elements per workgroup, which on a CPU is cheaper than one thread per element. */
export function runGrid(elements: number): Grid {
  return grid(Math.ceil(elements / RUN));
}
