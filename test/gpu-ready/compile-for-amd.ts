/**
 * Compiles all recorded kernels with the compiler of RADV, Mesa's driver for AMD, one after another. What the driver prints of each
 * goes to stderr, behind a line `compiling` with the kernel and its constants; a line `refused` tells why there is no pipeline.
 */
import { writeSync } from "node:fs";
import { chooseAdapter, readShader } from "../../engine/adapters/node.js";
import { createDevice } from "../../engine/core/device.js";
import { kernels } from "../../engine/core/kernel.js";
import { pipelineOf } from "../../engine/core/pipeline.js";
import { mendNullRadv } from "./null-radv.js";
import { recordedKernels } from "./recorded-kernels.js";

const print = (line: string) => writeSync(2, `${line}\n`);

mendNullRadv();
const { adapter } = await chooseAdapter();
const device = await createDevice(adapter, { shaders: readShader });
for (const use of await recordedKernels(device)) {
  print(`compiling ${JSON.stringify(use)}`);
  const kernel = kernels().find(({ file }) => file === use.file)!;
  await pipelineOf(device, kernel, use.constants).catch((error: unknown) =>
    print(`refused ${(error as Error).message}`),
  );
}
