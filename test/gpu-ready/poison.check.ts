/**
 * Kernels do not read what nobody wrote: they compute the same where workgroup memory and new buffers hold NaN instead of the zeros
 * that WebGPU puts there.
 */
import { AssertionError, expect } from "chai";
import type { Device } from "../../engine/core/device.js";
import { withCode, withMethods, withShaders } from "../support/changed-device.js";
import { withRolledLoops } from "../support/rolled-loops.js";
import { wrapEntryPoint } from "./entry-point.js";
import { casesOf, kernelSets } from "./kernel-sets.js";
import { usesWorkgroupMemory, withoutComments, workgroupVariables } from "./workgroup-memory.js";

/** A NaN in f32, and two of them in f16. */
const NAN = 0x7fc07fc0;

/** Returns the NaN of a type of workgroup memory, out of the variable `poison`. */
function nanOf(type: string): string {
  if (type === "u32") return "poison";
  const [, components = "1", half] = /^(?:vec(\d))?(h|f16|f|f32)$/.exec(type)!;
  const words = (Number(components) * (half!.endsWith("h") || half === "f16" ? 16 : 32)) / 32;
  return `bitcast<${type}>(${words === 1 ? "poison" : `vec${words}u(poison)`})`;
}

/** Fills workgroup memory with NaN before a kernel begins. */
function poisoned(code: string): string {
  const variables = workgroupVariables(code);
  const wrapped = wrapEntryPoint(code, ({ size, named }) => {
    const lane = named("local_invocation_index");
    const fills = variables.map(({ name, type, elements }) => {
      const fill = type.startsWith("atomic") ? `atomicStore(&${name}[i], poison);` : `${name}[i] = ${nanOf(type)};`;
      return `for (var i = ${lane}; i < ${elements}; i += ${size.join(" * ")}) { ${fill} }`;
    });
    return { before: [...fills, "workgroupBarrier();"].join("\n  ") };
  });
  return `${wrapped}\nvar<private> poison = ${NAN}u;\n`; // a NaN that the compiler sees is an error
}

/** Returns the device with NaN in workgroup memory and in new buffers. */
function withPoison(base: Device): Device {
  const { gpu } = base;
  const device = withMethods(base, {
    createBuffer(descriptor) {
      const isPoisoned = (descriptor.usage & GPUBufferUsage.STORAGE) > 0 && descriptor.mappedAtCreation !== true;
      if (!isPoisoned) return gpu.createBuffer(descriptor);
      const buffer = gpu.createBuffer({ ...descriptor, usage: descriptor.usage | GPUBufferUsage.COPY_DST });
      gpu.queue.writeBuffer(buffer, 0, new Uint32Array(descriptor.size / 4).fill(NAN));
      return buffer;
    },
  });
  return withCode(device, (code) => (usesWorkgroupMemory(code) ? poisoned(withoutComments(code)) : code));
}

const everyKernel = () => true;

describe("with NaN in memory that nobody wrote", function () {
  this.timeout(600_000);
  for (const set of kernelSets) {
    it(`kernels of the set ${set.name} agree with their references`, async () => {
      const device = withRolledLoops(withPoison(await set.device()));
      for (const { title, run } of await casesOf(set, everyKernel)) {
        await run(device).catch((error: unknown) => {
          throw new Error(title, { cause: error });
        });
      }
    });
  }

  for (const [memory, file, title, written] of [
    ["of workgroups", "crop-means", "contrast of a crop", "sums[lane] = "],
    ["in buffers", "add", "add, one element", "out[i] = "],
  ] as const) {
    it(`kernels that read their own memory ${memory} do not`, async () => {
      const set = kernelSets[0]!;
      const { run } = (await casesOf(set, everyKernel)).find((each) => each.title === title)!;
      const reading = withShaders(withPoison(await set.device()), (text, each) =>
        each === file ? text.replace(written, written.replace("=", "+=")) : text,
      );
      const error: unknown = await run(reading).catch((reason: unknown) => reason);
      expect(error).to.be.instanceOf(AssertionError);
    });
  }
});
