import { readdirSync } from "node:fs";
import { expect } from "chai";
import { openDevice, readShader } from "../../../engine/adapters/node.js";
import type { Device } from "../../../engine/core/device.js";
import { kernels } from "../../../engine/core/kernel.js";
import { pipelineOf } from "../../../engine/core/pipeline.js";
import "../../../dino/batches/crop-maker.js"; // these two declare every kernel
import "../../../engine/index.js";

const shaders = readdirSync(new URL("../../../shaders/", import.meta.url)).map((file) => file.replace(/\.wgsl$/, ""));
const isKernel = (name: string) => readShader(name).includes("@compute");
const includesOf = (name: string) => [...readShader(name).matchAll(/^\/\/ include (\S+)$/gm)].map(([, file]) => file!);

/** The comment that a file begins with, without its slashes. */
function headerOf(name: string): string {
  const lines = readShader(name).split("\n");
  const end = lines.findIndex((line) => !line.startsWith("//"));
  return lines
    .slice(0, end)
    .map((line) => line.slice(2).trim())
    .join("\n");
}

/** The text of a file with its includes behind it. */
function textOf(name: string): string {
  return [readShader(name), ...includesOf(name).map(textOf)].join("\n");
}

const ELEMENT_BYTES: Readonly<Record<string, number>> = {
  f16: 2,
  f32: 4,
  "atomic<u32>": 4,
  vec2h: 4,
  vec2f: 8,
  vec4h: 8,
  vec4f: 16,
};

/** A line of WGSL for each workgroup variable of a text, which fails to compile unless its size is a multiple of 16 bytes. */
function sizeAssertions(text: string): readonly string[] {
  const variables = text.matchAll(/^var<workgroup> (\w+): (?:array<(.+), (.+)>|(.+));/gm);
  return [...variables].map(([, name, element, count, single]) => {
    const bytes = ELEMENT_BYTES[element ?? single!];
    if (bytes === undefined) throw new Error(`${name}: the size of ${element ?? single} is not known here`);
    return `const_assert (${count ?? 1}) * ${bytes}u % 16u == 0u; // ${name}`;
  });
}

const names = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map(([, name]) => name!);

/** What the null backend says last, of a kernel without other faults: it has the least memory that WebGPU allows. */
const tooMuchMemory = /The total use of workgroup storage \(\d+ bytes\) is larger than the maximum allowed/;

describe("shaders", () => {
  let device: Device;
  before(async () => {
    device = await openDevice({ prefer: "null" });
  });
  after(() => device[Symbol.dispose]());

  for (const name of shaders.filter(isKernel)) {
    describe(name, () => {
      it("is declared once and compiles with its declaration's bindings and constants", async () => {
        const declared = kernels().filter(({ file }) => file === name);
        expect(declared).to.have.length(1);
        const [kernel] = declared;
        // any size that keeps arrays whole and divisors off zero, and a matrix of rows; the host gives the real ones
        const sizes = kernel!.constants.map((constant) => [constant, constant === "ROWS" ? 16 : 8] as const);
        await pipelineOf(device, kernel!, Object.fromEntries(sizes)).catch((error: unknown) => {
          if (!tooMuchMemory.test((error as Error).message)) throw error;
        });
      });

      it("has one entry point, sizes without a default and names of the house", () => {
        const text = readShader(name);
        expect(names(text, /@compute[^{]*fn (\w+)\(/g)).to.deep.equal(["main"]);
        for (const [line, constant] of text.matchAll(/^override (\w+): \w+(.*)$/gm)) {
          expect(constant, "in capitals").to.match(/^[A-Z][A-Z0-9_]*$/);
          expect(line, "without a default").to.not.include("=");
        }
        for (const binding of names(text, /var<storage[^>]*> (\w+)/g)) expect(binding).to.match(/^[a-z][a-zA-Z0-9]*$/);
        const numbers = names(text, /@binding\((\d+)\)/g);
        expect(numbers).to.deep.equal(numbers.map((_, i) => String(i)));
      });

      it("says in its header what every binding holds and how the work is divided", () => {
        const header = headerOf(name);
        for (const binding of names(readShader(name), /var<storage[^>]*> (\w+)/g))
          expect(header, `the header names ${binding}`).to.match(
            new RegExp(`^(?:\\w+, +)*${binding}\\b.*\\b[fiu](?:32|16)\\b`, "m"),
          );
        expect(header).to.match(/thread|lane|workgroup|group/i);
      });
    });
  }

  it("give every variable inside a loop its value, since Dawn's Vulkan backend zeroes one only once", () => {
    const unset = shaders.flatMap((name) =>
      names(readShader(name), /^ {4,}var (\w+): [^=;]+;/gm).map((v) => `${name} ${v}`),
    );
    expect(unset).to.deep.equal([]);
  });

  // Vulkan wants pointers to matrices at multiples of 16 bytes (VUID-RuntimeSpirv-OpCooperativeMatrixLoadKHR-08986), and
  // drivers lay the variables of a workgroup one behind the other, in any order.
  for (const name of shaders.filter((shader) => /^enable .*subgroup_matrix/m.test(readShader(shader)))) {
    it(`${name} has workgroup variables of multiples of 16 bytes, as its matrices need`, async () => {
      const text = textOf(name).replaceAll(/^override (\w+): (\w+);/gm, "const $1 = $2(16);"); // a multiple of 16 by their comments
      const assertions = sizeAssertions(text);
      expect(assertions).to.not.have.length(0);
      const code = [text, ...assertions].join("\n");
      const { messages } = await device.gpu.createShaderModule({ code }).getCompilationInfo();
      const refused = messages.map(({ lineNum, message }) => `${code.split("\n")[lineNum - 1]}: ${message}`);
      expect(refused).to.deep.equal([]);
    });
  }

  for (const name of shaders.filter((shader) => !isKernel(shader))) {
    it(`${name} has a header, and is included by a kernel`, () => {
      expect(headerOf(name)).to.not.equal("");
      const included = [...shaders.flatMap(includesOf), "reduce-subgroups", "reduce-any-subgroups"]; // which stand in for reduce
      expect(included).to.include(name);
    });
  }

  it("are there for every declared kernel and every include", () => {
    for (const name of shaders) expect(shaders, name).to.include.members(includesOf(name));
    const missing = kernels().filter(({ file }) => !shaders.includes(file) && !file.startsWith("test-"));
    expect(missing.map(({ file }) => file)).to.deep.equal([]);
  });
});
