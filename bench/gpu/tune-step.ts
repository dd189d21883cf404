/** Measures which kernels are fastest for a step, as `dino tune` does, but keeps no choice for later commands. Prints one JSON value. */
import { parseSetting } from "../../dino/config/flags.js";
import { resolveConfig } from "../../dino/config/resolve.js";
import { tune } from "../../dino/experiments/tune.js";
import { openDevice } from "../../engine/adapters/node.js";
import { runChild } from "./child.js";

async function main([preset, batch, precision]: readonly string[]): Promise<void> {
  const config = resolveConfig({
    preset: parseSetting("preset", [preset!]),
    batch: parseSetting("batch", [batch!]),
    precision: parseSetting("precision", [precision!]),
  });
  using device = await openDevice();
  const onProgress = (done: number, total: number) => console.error(`${done} of ${total} recordings of the step`);
  console.log(JSON.stringify(await tune({ device, config, onProgress })));
}

await runChild(main);
