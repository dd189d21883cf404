/** Emulation of tensor cores by plain threads, to test their kernels on adapters without them. */
import type { Device } from "../../../engine/core/device.js";
import { withShaders } from "../../support/changed-device.js";
import { FEW, rollLoops } from "../../support/rolled-loops.js";

/**
 * Returns a device that uses the kernels for tensor cores, with every matrix of a subgroup of `width` threads replaced by loops
 * over shared memory. Addresses, edges and division of work stay those of the kernel.
 */
export function withTensorCoresPlayed(device: Device, width: 32 | 64): Device {
  return { ...withMatricesPlayed(device, { width, side: 16 }), tensorCores: true };
}

/** Returns a device that uses the kernels for matrices of 8 x 8, replaced likewise for subgroups of 32. */
export function withMatricesOf8Played(device: Device): Device {
  return { ...withMatricesPlayed(device, { width: 32, side: 8 }), tensorCores: false, matricesOf8: true };
}

/** The threads of a subgroup, and the rows of a matrix. */
interface Extent {
  readonly width: 32 | 64;
  readonly side: 8 | 16;
}

function withMatricesPlayed(device: Device, extent: Extent): Device {
  return withShaders(device, (text, file) =>
    /-(subgroup-matrix|matrices)\b/.test(file) ? played(text, extent) : text,
  );
}

/**
 * How a matrix is shared: by 16, 32 or 64 threads, four or more neighbours of a row each. Further threads do the same as the first
 * ones.
 */
function sharesOf({ width, side }: Extent): { readonly threads: number; readonly values: number } {
  const threads = Math.min(width, (side * side) / 4);
  return { threads, values: (side * side) / threads };
}

/** The unrolled loops of matmul-matrices.wgsl as they are there: compiled once instead of eight times, they take seconds less. */
const unrolled = {
  finishes: Array.from({ length: 8 }, (_, t) => `    finish(work, lane, takesPart, ${t}u, acc[${t}]);\n`).join(""),
  products: `          let b0 = right(across, d);
          let b1 = right(across + UNIT, d);
${[0, 1, 2, 3]
  .map((i) => {
    const row = ["down", "down + UNIT", "down + 2u * UNIT", "down + 3u * UNIT"][i]!;
    const product = (j: number) =>
      `          acc[${2 * i + j}] = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, acc[${2 * i + j}]);\n`;
    return `          let a${i} = left(${row}, d);\n${product(0)}${product(1)}`;
  })
  .join("")}`,
};

function withLoops(text: string): string {
  return text
    .replace(unrolled.finishes, "    for (var t = 0u; t < 8u; t++) { finish(work, lane, takesPart, t, acc[t]); }\n")
    .replace(
      unrolled.products,
      `          for (var i = 0u; i < 8u; i++) {
            let a = left(down + i / 2u * UNIT, d);
            acc[i] = subgroupMatrixMultiplyAccumulate(a, right(across + i % 2u * UNIT, d), acc[i]);
          }
`,
    );
}

/** Rewrites a kernel, or the file that declares its matrices, without subgroups. */
function played(text: string, extent: Extent): string {
  const { width, side } = extent;
  const memory = [...text.matchAll(/^var<workgroup> (\w+): array<(?:vec(\d))?(h|f16|f|f32),/gm)].map(
    ([, name, components, type]): Memory => ({
      name: name!,
      components: Number(components ?? 1),
      type: /h|f16/.test(type!) ? "f16" : "f32",
    }),
  );
  const [, right] = /subgroupMatrixLoad<Right, \w+>\(&(\w+)/.exec(text) ?? [];
  return [
    rollLoops(withLoops(text))
      .replace(/^enable (subgroups|chromium_experimental_subgroup_matrix);$/gm, "")
      .replace(/^ *@builtin\((subgroup_id|num_subgroups)\).*$/gm, "")
      .replace(
        /@compute[^]*?\) \{\n/,
        `$&  playing = lane;\n  let subgroup = lane / ${width}u;\n  let subgroups = LANES / ${width}u;\n`,
      )
      .replace(/^alias Left = .*$/m, `alias Left = array<vec4f, ${side / 4}>;`)
      .replace(/^alias Right = .*$/m, "alias Right = vec3u;")
      .replace(/^alias Result = .*$/m, `alias Result = array<vec4f, ${sharesOf(extent).values / 4}>;`)
      .replace(/subgroupMatrixLoad<(Left|Right|Result), (row|col)_major>\(&(\w+), /g, "$3_$1_$2(")
      .replaceAll("subgroupMatrixMultiplyAccumulate(", "multiplied(")
      .replace(/subgroupMatrixStore<row_major>\(&(\w+), /g, "$1_put("),
    ...memory.map((each) => access(each, extent)),
    right ? arithmetic(right, extent) : "",
  ].join("\n");
}

/** An array of shared memory: of floats, or vectors of them. */
interface Memory {
  readonly name: string;
  readonly components: number;
  readonly type: "f16" | "f32";
}

/** Reads and writes four neighbours that begin at a multiple of four, as many at once as an element of the memory has. */
function fours({ name, components, type }: Memory): string {
  const vector = components === 1 ? type : `vec${components}<${type}>`;
  const values = ["x", "y", "z", "w"];
  const places = Array.from({ length: 4 / components }, (_, i) => ({
    element: `${name}[at / ${components}u + ${i}u]`,
    part: values.slice(components * i, components * (i + 1)).join(""),
  }));
  return `
fn ${name}_four(at: u32) -> vec4f { return vec4f(vec4<${type}>(${places.map(({ element }) => element).join(", ")})); }
fn ${name}_one(at: u32) -> f32 { return f32(${components === 1 ? `${name}[at]` : `${name}[at / ${components}u][at % ${components}u]`}); }
fn ${name}_putFour(at: u32, values: vec4f) {
  ${places.map(({ element, part }) => `${element} = ${vector}(values.${part});`).join(" ")}
}`;
}

/**
 * How a thread loads its part of a matrix, and stores it: of a result 256 / width neighbours in a row, of a left matrix that
 * row; of a right one it only keeps the place, the stride, and whether memory runs along k. A place or stride off 16 bytes, which
 * Vulkan does not allow, gives a matrix of other values.
 */
function access(memory: Memory, extent: Extent): string {
  const { side } = extent;
  const fourths = sharesOf(extent).values / 4;
  const { name, components, type } = memory;
  const bytes = components * (type === "f16" ? 2 : 4);
  const unlessMisplaced = `select(1u, 0u, (at | stride) * ${bytes}u % 16u > 0u)`;
  const row = `at * ${components}u + ownRow() * stride * ${components}u`;
  const right = (alongK: 0 | 1) =>
    `Right(at * ${components}u, stride * ${components}u * ${unlessMisplaced}, ${alongK}u)`;
  return `${fours(memory)}
fn ${name}_Left_row(at: u32, stride: u32) -> Left {
  var x = Left();
  for (var v = 0u; v < few(${side / 4}u) * ${unlessMisplaced}; v++) { x[v] = ${name}_four(${row} + 4u * v); }
  return x;
}
fn ${name}_Left_col(at: u32, stride: u32) -> Left {
  var x = Left();
  let step = stride * ${components}u;
  for (var v = 0u; v < few(${side / 4}u) * ${unlessMisplaced}; v++) {
    let first = at * ${components}u + ownRow() + 4u * v * step;
    x[v] = vec4f(${name}_one(first), ${name}_one(first + step), ${name}_one(first + 2u * step), ${name}_one(first + 3u * step));
  }
  return x;
}
fn ${name}_Right_row(at: u32, stride: u32) -> Right { return ${right(0)}; }
fn ${name}_Right_col(at: u32, stride: u32) -> Right { return ${right(1)}; }
fn ${name}_Result_row(at: u32, stride: u32) -> Result {
  var x = Result();
  for (var v = 0u; v < few(${fourths}u) * ${unlessMisplaced}; v++) { x[v] = ${name}_four(${row} + ownColumn() + 4u * v); }
  return x;
}
fn ${name}_put(at: u32, x: Result, stride: u32) {
  for (var v = 0u; v < few(${fourths}u) * ${unlessMisplaced}; v++) { ${name}_putFour(${row} + ownColumn() + 4u * v, x[v]); }
}`;
}

/** Products with right matrices out of the memory `right`. */
function arithmetic(right: string, extent: Extent): string {
  const { side } = extent;
  const { threads, values } = sharesOf(extent);
  return `
var<private> playing: u32;  // the thread
${FEW}
fn ownRow() -> u32 { return (playing % ${threads}u / ${threads / side}u + ${side / 2}u) % ${side}u; }  // far from where kernels put a thread
fn ownColumn() -> u32 { return playing % ${threads / side}u * ${values}u; }
fn multiplied(a: Left, b: Right, sums: Result) -> Result {
  var x = sums;
  for (var v = 0u; v < few(${values / 4}u); v++) {
    let column = ownColumn() + 4u * v;
    for (var k = 0u; k < few(${side / 4}u); k++) {
      for (var j = 0u; j < few(4u); j++) {
        if (b.z == 1u) {
          x[v][j] += dot(a[k], ${right}_four(b.x + (column + j) * b.y + 4u * k));
        } else {
          x[v] += a[k][j] * ${right}_four(b.x + (4u * k + j) * b.y + column);
        }
      }
    }
  }
  return x;
}`;
}
