import { createParams, layoutOf, type Params } from "../../engine/index.js";
import { testDevice } from "../support/device.js";
import type { GoldenTensors } from "./golden.js";

/** Parameters as a golden file stores them: those whose name starts with `prefix`, under the rest of their name. */
export async function goldenParams(
  file: GoldenTensors,
  { prefix = "", frozen = [] }: { readonly prefix?: string; readonly frozen?: readonly string[] } = {},
): Promise<Params> {
  const names = file.names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  const specs = names.map((name) => ({ name, shape: file.shape(prefix + name), trainable: !frozen.includes(name) }));
  const params = createParams(await testDevice(), layoutOf(specs), "golden");
  params.write(new Map(names.map((name) => [name, file.f32(prefix + name)])));
  return params;
}
