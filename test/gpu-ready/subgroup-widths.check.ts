/**
 * Reductions agree with their references in subgroups of 4 and 16 threads, which lavapipe has on request, and of 32 and 64, which
 * workgroup memory plays. The other tests have subgroups of 8, and products and attention play subgroups of 32 and 64.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect } from "chai";
import type { Device } from "../../engine/core/device.js";
import { checkOp } from "../engine/ops/check-op.js";
import { rows } from "../engine/ops/op-table.js";
import { withShaders } from "../support/changed-device.js";
import { testDevice } from "../support/device.js";
import { small } from "./kernel-sets.js";

const run = promisify(execFile);

const REDUCING = "(softmax|logSoftmax|layernorm|addLayernorm|koleo|normalize|l2Normalize|sum)";

const WIDTH_OF_DEVICE = `
  import { openDevice } from "./engine/adapters/node.ts";
  console.log((await openDevice()).subgroupWidth);
`;

/** Environment in which lavapipe has subgroups of this many threads. */
const environment = (width: number) => ({ ...process.env, LP_NATIVE_VECTOR_WIDTH: String(32 * width) });

/** Functions of subgroups, played by the threads of a workgroup in workgroup memory. */
function played(width: number): string {
  const ofSubgroup = (name: string, start: string, step: string) => `
fn ${name}(value: f32, lane: u32) -> f32 {
  workgroupBarrier();
  shared_values[lane] = value;
  workgroupBarrier();
  let first = lane / ${width}u * ${width}u;
  var result = ${start};
  for (var i = first; i < min(first + ${width}u, LANES); i++) { ${step} }
  return result;
}`;
  return `
var<workgroup> shared_values: array<f32, LANES>;
${ofSubgroup("playedSum", "0.0", "result += shared_values[i];")}
${ofSubgroup("playedMax", "shared_values[first]", "result = max(result, shared_values[i]);")}
`;
}

/** Returns the device with subgroups of this width in reductions. */
function withSubgroupsPlayed(device: Device, width: number): Device {
  const rewritten = withShaders(device, (text, file) => {
    if (!/^reduce-(any-)?subgroups$/.test(file)) return text;
    const changed = text
      .replace("enable subgroups;", "")
      .replaceAll("subgroupAdd(1u)", `min(${width}u, LANES)`)
      .replaceAll("subgroupExclusiveAdd(1u)", `lane % ${width}u`)
      .replaceAll("subgroupElect()", `(lane % ${width}u == 0u)`)
      .replaceAll(/subgroupAdd\((\w+)\)/g, "playedSum($1, lane)")
      .replaceAll(/subgroupMax\((\w+)\)/g, "playedMax($1, lane)");
    expect(changed.replaceAll(/^ *\/\/.*$/gm, "")).not.to.match(/subgroup[A-Z]/);
    return changed + played(width);
  });
  return { ...rewritten, subgroupWidth: width };
}

describe("reductions in subgroups", function () {
  this.timeout(300_000);
  for (const width of [4, 16]) {
    it(`of ${width} threads agree with their references`, async function () {
      if ((await testDevice()).adapterKind !== "lavapipe") this.skip();
      const options = { env: environment(width), maxBuffer: 2 ** 24 };
      const script = ["--import", "tsx", "--input-type=module", "--eval", WIDTH_OF_DEVICE];
      expect((await run(process.execPath, script, options)).stdout.trim()).to.equal(String(width));
      const mocha = ["node_modules/mocha/bin/mocha.js", "test/engine/ops/ops.test.ts"];
      const only = ["--grep", `made for a GPU (?!without)(?!.*@long)${REDUCING}`];
      const { stdout } = await run(process.execPath, [...mocha, ...only], options);
      expect(Number(/(\d+) passing/.exec(stdout)?.[1])).to.be.above(20);
    });
  }
  for (const width of [32, 64]) {
    it(`of ${width} threads, played, agree with their references`, async () => {
      const device = withSubgroupsPlayed(await testDevice({ kernels: "gpu" }), width);
      const reducing = small(rows).filter(({ op }) => new RegExp(`^${REDUCING}`).test(op));
      expect(reducing.length).to.be.above(20);
      for (const row of reducing) await checkOp(row, device);
    });
  }
});
