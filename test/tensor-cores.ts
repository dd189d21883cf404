/** Tensor cores played by plain threads, to check the kernels for them where there are none. */
import type { Device } from "../engine/device.js";

/**
 * A device that takes the kernels for tensor cores, with every matrix of a subgroup of `width` threads replaced by loops over
 * shared memory: addresses, edges and division of work stay the kernel's own.
 */
export function withTensorCoresPlayed(device: Device, width: number): Device {
  const played = (name: string) => {
    const text = device.shaders(name);
    if (/^matmul-subgroup-matrix/.test(name)) return playedKernel(text, width);
    return name === "matmul-matrices" ? playedTiles(text, width) : text;
  };
  // a GPU device of its own in name only, so that its kernels are not those compiled for the other
  const gpu = new Proxy(device.gpu, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
  return { ...device, gpu, tensorCores: true, shaders: played };
}

function playedKernel(text: string, width: number): string {
  return text
    .replace(/^enable (subgroups|chromium_experimental_subgroup_matrix);$/gm, "")
    .replace(/^ *@builtin\((subgroup_id|num_subgroups)\).*$/gm, "")
    .replace("lane, subgroup, subgroups)", `lane, lane / ${width}u, LANES / ${width}u)`);
}

function playedTiles(text: string, width: number): string {
  // bounds that a compiler cannot see, or it unrolls these loops for minutes
  const threads = `const WIDTH = ${width}u;
fn sixteen() -> u32 { return min(sizes[9] + 15u, 16u); }
fn multiplied(lane: u32, a: u32, b: u32, acc: Result) -> Result {
  var sums = acc;
  for (var i = 0u; i < sixteen() * 16u / WIDTH; i++) {
    let at = i * WIDTH + lane % WIDTH;
    for (var d = 0u; d < sixteen(); d++) {
      sums[i] += f32(aTile[a + at / 16u * (DEPTH + PAD) + d]) * f32(bTile[b + d * (SIDE + PAD) + at % 16u]);
    }
  }
  return sums;
}
fn put(lane: u32, start: u32, sums: Result) {
  for (var i = 0u; i < sixteen() * 16u / WIDTH; i++) { results[start + i * WIDTH + lane % WIDTH] = sums[i]; }
}
`;
  return (
    text
      .replace(/^alias (Left|Right) = .*$/gm, "alias $1 = u32;")
      .replace(/^alias Result = .*$/m, `alias Result = array<f32, ${256 / width}>;`)
      .replace(/subgroupMatrixLoad<\w+, row_major>\(&\w+, (.+), \w+\)/g, "$1")
      .replaceAll("subgroupMatrixMultiplyAccumulate(", "multiplied(lane, ")
      .replace(/subgroupMatrixStore<row_major>\(&results, (.+), sums, UNIT\)/, "put(lane, $1, sums)") + threads
  );
}
