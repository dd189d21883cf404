import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { findDriverFile } from "../../engine/adapters/adapter.js";
import { kernels } from "../../engine/core/kernel.js";
import "../../dino/batches/crop-maker.js"; // these two declare every kernel
import "../../engine/index.js";
import { temporaryFolders } from "../support/temporary-folders.js";
import type { KernelUse } from "./recorded-kernels.js";

/** Kinds of AMD's GPUs, by the names that RADV_FORCE_FAMILY takes. */
const FAMILIES = {
  navi31: "RDNA 3, with subgroup matrices",
  gfx1200: "RDNA 4",
  vega10: "GCN 5, with subgroups of 64",
} as const;

/** Kernels that never run on an AMD GPU, and why. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  "attention-subgroups": "for subgroups of 8, which are lavapipe's",
  "attention-subgroups-backward-keys": "for subgroups of 8",
  "attention-subgroups-backward-queries": "for subgroups of 8",
  "matmul-subgroups-8": "for subgroups of 8",
  "matmul-subgroups-4": "for subgroups of 4, which are SwiftShader's",
  "matmul-subgroup-matrix-8": "for matrices of 8 x 8, which are Apple's",
  "matmul-subgroup-matrix-8-f16": "for matrices of 8 x 8",
  "matmul-subgroup-matrix-8-f16-f32": "for matrices of 8 x 8",
};

/** A kernel that was compiled, and what the compiler printed. */
interface Compiled {
  readonly use: KernelUse;
  readonly printed: string;
}

/** Compiles all kernels for a family; `log` is a file for what the compiler prints. Throws if it crashes. */
async function compileAll(family: string, driver: string, log: string): Promise<readonly Compiled[]> {
  const program = fileURLToPath(new URL("compile-for-amd.ts", import.meta.url));
  const env = {
    ...process.env,
    DINO_ADAPTER: "gpu",
    VK_DRIVER_FILES: driver,
    RADV_FORCE_FAMILY: family,
    RADV_DEBUG: "nocache,nir,shaderstats",
  };
  await using output = await open(log, "w"); // a pipe is slow: the driver writes word by word
  const child = spawn(process.execPath, ["--import", "tsx", program], { stdio: ["ignore", "ignore", output.fd], env });
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  const [before, ...sections] = (await readFile(log, "utf8")).split(/^compiling /m);
  if (code !== 0)
    throw new Error(`${family}: ended with ${signal ?? code} at ${sections.at(-1)?.split("\n")[0] ?? before}`);
  return sections.map((section) => {
    const newline = section.indexOf("\n");
    return { use: JSON.parse(section.slice(0, newline)) as KernelUse, printed: section.slice(newline + 1) };
  });
}

/** Lists the compiled kernels in which `find` finds something, each with what it found. */
function findings(compiled: readonly Compiled[], find: (printed: string) => readonly string[]): readonly string[] {
  return compiled.flatMap(({ use: { file, constants }, printed }) => {
    const [first, ...others] = find(printed);
    const more = others.length === 0 ? "" : `, and ${others.length} more`;
    return first === undefined ? [] : [`${file} ${JSON.stringify(constants)}: ${first}${more}`];
  });
}

/** Finds statistics above zero that cost a kernel most of its speed; a pipeline without statistics was not compiled. */
function wasteful(printed: string): readonly string[] {
  const names = ["Spilled SGPRs", "Spilled VGPRs", "Scratch size"];
  return names.flatMap((name) => {
    const value = new RegExp(`^${name}: (\\d+)$`, "m").exec(printed)?.[1];
    return value === "0" ? [] : [`${name}: ${value ?? "not printed"}`];
  });
}

/**
 * An access of workgroup memory in NIR, Mesa's form of a shader, such as
 * `32x2 %7 = @load_shared (%6) (base=1796, align_mul=8, align_offset=4)`, with the alignment that the compiler proved.
 */
const LOAD = /(\d+)(?:x(\d+))? +%\d+ = @load_shared .*align_mul=(\d+), align_offset=(\d+)\)/g;

/** Finds loads of workgroup memory that are certain to lie off a multiple of their own size, and so are split. */
function misaligned(printed: string): readonly string[] {
  return [...printed.matchAll(LOAD)].flatMap(([load, bits, components, factor, offset]) => {
    const bytes = (Number(bits) / 8) * Number(components ?? 1);
    const powerOfTwo = bytes & -bytes; // 4 of the 12 bytes of three f32
    return Number(offset) % Math.min(powerOfTwo, Number(factor)) === 0 ? [] : [load];
  });
}

describe("AMD's compiler", () => {
  const temporaryFolder = temporaryFolders("amd-compiler");
  const made = new Map<string, Promise<readonly Compiled[]>>();
  before(async function () {
    this.timeout(600_000);
    const driver = process.arch === "x64" ? findDriverFile("radeon") : undefined;
    if (driver === undefined) return this.skip(); // it is part of Mesa, for Linux
    const folder = await temporaryFolder();
    for (const family of Object.keys(FAMILIES)) made.set(family, compileAll(family, driver, join(folder, family)));
    await Promise.allSettled(made.values());
  });

  for (const [family, kind] of Object.entries(FAMILIES)) {
    describe(`for ${family} (${kind})`, () => {
      let compiled: readonly Compiled[];
      before(async () => {
        compiled = await made.get(family)!;
      });

      it("takes every kernel", () => {
        expect(findings(compiled, (printed) => /^refused .*/m.exec(printed) ?? [])).to.deep.equal([]);
      });

      it("spills no registers and uses no scratch memory", () => {
        expect(findings(compiled, wasteful)).to.deep.equal([]);
      });

      it("finds loads of workgroup memory aligned to their size", () => {
        expect(compiled.flatMap(({ printed }) => printed.match(LOAD) ?? [])).to.not.have.length(0);
        expect(findings(compiled, misaligned)).to.deep.equal([]);
      });
    });
  }

  it("sees every kernel that runs on AMD GPUs", async () => {
    const seen = new Set((await Promise.all(made.values())).flat().map(({ use }) => use.file));
    const unseen = kernels().flatMap(({ file }) => (seen.has(file) ? [] : [file]));
    expect(unseen).to.have.members(Object.keys(ELSEWHERE));
  });
});
