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
