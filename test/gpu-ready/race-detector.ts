/**
 * Finds races in workgroup memory, whatever order the driver runs threads in. Every element carries who wrote and who read it
 * last, and in which epoch, the number of barriers passed. Two accesses of one epoch by different threads, one of them a write,
 * are a race: no barrier orders them.
 */
import type { Device } from "../../engine/core/device.js";
import { withMethods } from "../support/changed-device.js";
import { wrapEntryPoint } from "./entry-point.js";
import {
  isShadowed,
  mapFunctions,
  noteAccesses,
  withoutComments,
  type WgslFunction,
  workgroupVariables,
  type WorkgroupVariable,
} from "./workgroup-memory.js";

/** A device that watches its kernels for races. */
export interface RaceDetector extends Disposable {
  readonly device: Device;
  /** Returns the first race of all kernels so far, and forgets it. */
  readonly race: () => Promise<string | undefined>;
}

/** Workgroups watched of each dispatch. */
const GROUPS = 128;
/** Bytes of the smallest element. */
const SMALLEST = 2;
/** Words of the report: races, kernel, 1 + variable, element, the two accesses. */
const REPORT = 6;

/** Returns a device with the same kernels that notes their accesses to workgroup memory. */
export function detectRaces(base: Device): RaceDetector {
  const { gpu } = base;
  const elements = base.limits.maxComputeWorkgroupStorageSize / SMALLEST;
  const notes = gpu.createBuffer({
    size: 4 * (REPORT + 2 * GROUPS * elements),
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  const one = gpu.createBuffer({ size: 4, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
  gpu.queue.writeBuffer(one, 0, Uint32Array.of(1));
  const watched: { readonly kernel: string; readonly variables: readonly WorkgroupVariable[] }[] = [];

  const device = withMethods(withFurtherBuffers(base, { written: [notes], read: [one] }), {
    createShaderModule(module) {
      const kernel = module.label ?? "";
      const code = withoutComments(module.code);
      const variables = workgroupVariables(code);
      if (variables.length === 0) return gpu.createShaderModule(module);
      watched.push({ kernel, variables });
      try {
        return gpu.createShaderModule({
          ...module,
          code: watch(code, variables, { kernel: watched.length - 1, most: elements }),
        });
      } catch (error) {
        throw new Error(`${kernel}: ${(error as Error).message}`, { cause: error });
      }
    },
  });

  return {
    device,
    async race() {
      const copy = gpu.createBuffer({ size: 4 * REPORT, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
      const encoder = gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(notes, 0, copy, 0, copy.size);
      encoder.clearBuffer(notes, 0, 4);
      gpu.queue.submit([encoder.finish()]);
      await copy.mapAsync(GPUMapMode.READ);
      const [races, kernel, variable, element, first, second] = new Uint32Array(copy.getMappedRange().slice(0));
      copy.destroy();
      if (races === 0) return undefined;
      const { kernel: name, variables } = watched[kernel!]!;
      return `${name}: ${variables[variable! - 1]!.name}[${element}], ${describe(first!)} and ${describe(second!)}`;
    },
    [Symbol.dispose]: () => [notes, one].forEach((buffer) => buffer.destroy()),
  };
}

/** Returns the device with buffers bound to group 1 of every kernel, written ones before those that are only read. */
function withFurtherBuffers(
  base: Device,
  { written = [], read = [] }: { readonly written?: readonly GPUBuffer[]; readonly read?: readonly GPUBuffer[] },
): Device {
  const { gpu } = base;
  const buffers = [...written, ...read];
  const layout = gpu.createBindGroupLayout({
    entries: buffers.map((_, binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: binding < written.length ? "storage" : "read-only-storage" },
    })),
  });
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const group = gpu.createBindGroup({ layout, entries });
  return withMethods(base, {
    createPipelineLayout: ({ bindGroupLayouts }) =>
      gpu.createPipelineLayout({ bindGroupLayouts: [...bindGroupLayouts, layout] }),
    createCommandEncoder() {
      const encoder = gpu.createCommandEncoder();
      const begin = encoder.beginComputePass.bind(encoder);
      encoder.beginComputePass = (options) => {
        const pass = begin(options);
        pass.setBindGroup(1, group);
        return pass;
      };
      return encoder;
    },
  });
}

/** Bits of an access that tell who did it; the others are the epoch. */
const BITS = 11;
/**
 * Who accesses: a lane counts from 1. A matrix is written by any lanes of a subgroup, and read by all: its accesses conflict with
 * those of every lane. A store of a number to an atomic conflicts with that of another number and with sums; sums do not conflict.
 */
const WHO = { matrixLane: 512, matrix: 1024, atomic: 1025, sum: 2046, many: 2047 };

function describe(access: number): string {
  const who = access % 2 ** BITS;
  if (who === WHO.many) return "several threads";
  if (who === WHO.sum) return "a sum";
  if (who >= WHO.atomic) return `a store of ${who - WHO.atomic}`;
  return who > WHO.matrixLane ? "a matrix" : `thread ${who - 1}`;
}

interface Numbers {
  /** Of the kernel, in reports. */
  readonly kernel: number;
  /** Elements of workgroup memory that a kernel can have. */
  readonly most: number;
}

function watch(code: string, variables: readonly WorkgroupVariable[], numbers: Numbers): string {
  if (/storageBarrier|textureBarrier/.test(code)) throw new Error("a barrier that is not of the workgroup");
  const noting = mapFunctions(code, (each) => variables.reduce((body, v) => noted(body, v, each), each.body))
    .replaceAll("workgroupBarrier();", "workgroupBarrier(); raceEpoch++;")
    .replace(/for \(var (\w+) = ([^;]+); /g, "for (var $1 = raceHidden($2); ");
  return [entered(noting), shared(numbers, variables), ...variables.map(notesOf), ""].join("\n");
}

/** Notes the accesses to a variable in a function's body; in emulated matrices, as those of a matrix. */
function noted(body: string, { name, isAtomic }: WorkgroupVariable, each: WgslFunction): string {
  if (isShadowed(name, each)) return body;
  if (!isAtomic) {
    const kind = new RegExp(`^${name}_(four|putFour)$`).test(each.name) ? "Matrix" : "";
    return noteAccesses(body, name, {
      read: `race${kind}Read_${name}`,
      write: `race${kind}Write_${name}`,
      update: `raceUpdate_${name}`,
    });
  }
  const store = new RegExp(`atomicStore\\(&${name}\\[0\\], (\\w+)\\);`, "g");
  const sum = `atomicAdd(&${name}[0], `;
  const load = `workgroupUniformLoad(&${name}[0])`;
  if (new RegExp(`\\b${name}\\b`).test(body.replace(store, "").replaceAll(sum, "").replaceAll(load, "")))
    throw new Error(`an unknown use of the atomic ${name}`);
  return body
    .replace(store, `raceStore_${name}($1); $&`)
    .replaceAll(sum, `raceAdd_${name}(`)
    .replaceAll(load, `raceUniform_${name}()`);
}

/** Tells each thread who it is, and reports its race. */
const entered = (code: string) =>
  wrapEntryPoint(code, ({ size, named }) => {
    const [group, grid] = [named("workgroup_id"), named("num_workgroups")];
    return {
      before: `raceThread = ${named("local_invocation_index")} + 1u;
  raceGroup = ${group}.x + ${grid}.x * (${group}.y + ${grid}.y * ${group}.z);
  raceBegin(${size.join(" * ")});`,
      after: "raceEnd();",
    };
  });

/** What all variables share. */
function shared({ kernel, most }: Numbers, variables: readonly WorkgroupVariable[]): string {
  return `
@group(1) @binding(0) var<storage, read_write> race: array<atomic<u32>>;
@group(1) @binding(1) var<storage, read> raceOne: u32;
var<private> raceThread: u32;
var<private> raceGroup: u32;
var<private> raceEpoch: u32;
var<private> raceFound: array<u32, 4>;  // 1 + variable, element, and the two accesses of the thread's first race

/** n, in a way that no compiler sees, or it unrolls loops for minutes. */
fn raceHidden(n: u32) -> u32 { return min(raceOne + n, n + 1u) - 1u; }

/** Forgets the accesses of a former dispatch. */
fn raceBegin(threads: u32) {
  if (raceGroup < ${GROUPS}u) {
    for (var i = raceThread - 1u; i < ${variables.map(({ elements }) => `(${elements})`).join(" + ")}; i += threads) {
      atomicStore(&race[racePlace(i)], 0u);
      atomicStore(&race[racePlace(i) + 1u], 0u);
    }
  }
  storageBarrier();
  raceEpoch = 1u;
}

fn raceEnd() {
  if (raceFound[0] == 0u || atomicAdd(&race[0], 1u) > 0u) { return; }
  atomicStore(&race[1], ${kernel}u);
  for (var i = 0u; i < 4u; i++) { atomicStore(&race[2u + i], raceFound[i]); }
}

/** Where the last write of an element is noted, and behind it the last read. */
fn racePlace(element: u32) -> u32 { return ${REPORT}u + 2u * (raceGroup * ${most}u + element); }

fn raceAccess(who: u32) -> u32 { return (raceEpoch << ${BITS}u) | who; }

fn raceCompare(other: u32, own: u32, variable: u32, element: u32) {
  if (other != own && (other >> ${BITS}u) == raceEpoch && raceFound[0] == 0u) {
    raceFound = array(1u + variable, element, other, own);
  }
}

fn raceRead(variable: u32, start: u32, element: u32, who: u32) {
  if (raceGroup >= ${GROUPS}u) { return; }
  let at = racePlace(start + element);
  let own = raceAccess(who);
  raceCompare(atomicLoad(&race[at]), own, variable, element);
  let reader = atomicMax(&race[at + 1u], own);
  if (reader != own && (reader >> ${BITS}u) == raceEpoch) { atomicMax(&race[at + 1u], raceAccess(${WHO.many}u)); }
}

fn raceWrite(variable: u32, start: u32, element: u32, who: u32) {
  if (raceGroup >= ${GROUPS}u) { return; }
  let at = racePlace(start + element);
  let own = raceAccess(who);
  raceCompare(atomicExchange(&race[at], own), own, variable, element);
  raceCompare(atomicLoad(&race[at + 1u]), own, variable, element);
}`;
}

/** The notes of a variable. */
function notesOf(
  { name, isAtomic, elements }: WorkgroupVariable,
  variable: number,
  all: readonly WorkgroupVariable[],
): string {
  const start = ["0u", ...all.slice(0, variable).map((each) => `(${each.elements})`)].join(" + ");
  const at = (element: string) => `${variable}u, ${start}, min(${element}, (${elements}) - 1u)`;
  if (isAtomic) {
    return `
fn raceStore_${name}(value: u32) { raceWrite(${at("0u")}, ${WHO.atomic}u + value); }
fn raceAdd_${name}(value: u32) -> u32 {
  raceWrite(${at("0u")}, ${WHO.sum}u);
  return atomicAdd(&${name}[0], value);
}
fn raceUniform_${name}() -> u32 {
  let value = workgroupUniformLoad(&${name}[0]);
  raceEpoch++;
  return value;
}`;
  }
  return `
fn raceRead_${name}(i: u32) -> u32 { raceRead(${at("i")}, raceThread); return i; }
fn raceWrite_${name}(i: u32) -> u32 { raceWrite(${at("i")}, raceThread); return i; }
fn raceUpdate_${name}(i: u32) -> u32 { return raceRead_${name}(raceWrite_${name}(i)); }
fn raceMatrixRead_${name}(i: u32) -> u32 { raceRead(${at("i")}, ${WHO.matrix}u); return i; }
fn raceMatrixWrite_${name}(i: u32) -> u32 { raceWrite(${at("i")}, ${WHO.matrixLane}u + raceThread); return i; }`;
}
