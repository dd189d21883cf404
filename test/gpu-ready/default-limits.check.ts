/** Kernels need no more than the minimum limits of WebGPU and no feature: 16 KiB of workgroup memory, 128 MiB and 8 buffers bound. */
import { readShader } from "../../engine/adapters/node.js";
import { createDevice, throwIfFailed } from "../../engine/core/device.js";
import { rows } from "../engine/ops/op-table.js";
import { leastAdapter } from "../support/least-adapter.js";
import { withRolledLoops } from "../support/rolled-loops.js";
import { casesOf, small } from "./kernel-sets.js";

describe("within the minimum limits of WebGPU", function () {
  this.timeout(600_000);
  it("kernels agree with their references", async () => {
    using device = await createDevice(await leastAdapter(), { shaders: readShader, kernels: "gpu" });
    const set = { name: "f32", rows: small(rows), device: () => Promise.resolve(device) };
    for (const { run } of await casesOf(set, () => true)) await run(withRolledLoops(device));
    throwIfFailed(device);
  });
});
