import { expect } from "chai";
import { parseAdapters, type Card, isolatingVariables } from "../../../engine/adapters/adapter-list.js";
import { chooseAdapter } from "../../../engine/adapters/node.js";
import { unpackSwiftShader, findArchive } from "../../../engine/adapters/swiftshader.js";
import { rejection } from "../../support/rejection.js";

const answer = (...adapters: readonly (readonly [string, string])[]): string =>
  ["Error: no suitable backends found", "Available adapters:"]
    .concat(adapters.map(([backend, name]) => ` * backend: '${backend}', name: '${name}'`))
    .join("\n");

describe("several adapters", () => {
  it("are read out of Dawn's answer, those of a CPU only where there are no others", () => {
    const card = "NVIDIA A100-SXM4-40GB";
    const both = answer(["vulkan", card], ["vulkan", "llvmpipe (LLVM 15.0.6, 256 bits)"], ["vulkan", card]);
    expect(parseAdapters(both)).to.deep.equal([card, card]);
    expect(parseAdapters(answer(["vulkan", "SwiftShader Device (Subzero)"]))).to.deep.equal([
      "SwiftShader Device (Subzero)",
    ]);
    expect(parseAdapters(answer(["d3d12", "Radeon"], ["vulkan", "Radeon"]))).to.deep.equal(["Radeon"]);
    expect(parseAdapters("[object GPUAdapter]")).to.deep.equal([]);
  });

  describe("of one name", () => {
    const a100 = (address: string): Card => ({ address, vendor: "0x10de", device: "0x20b0" });
    const cards = [
      a100("0000:c1:00.0"),
      a100("0000:41:00.0"),
      { address: "0000:03:00.0", vendor: "0x1a03", device: "0x2000" },
    ];

    it("are told apart by their slots, in the order of these", () => {
      const variables = (position: number) =>
        isolatingVariables("NVIDIA A100-SXM4-40GB", { position, count: 2 }, cards);
      expect(variables(0)).to.deep.equal({ DRI_PRIME: "pci-0000_41_00_0!" });
      expect(variables(1)).to.deep.equal({ DRI_PRIME: "pci-0000_c1_00_0!" });
    });

    it("are refused where Linux does not list them so", () => {
      for (const [name, count] of [
        ["NVIDIA A100-SXM4-40GB", 4],
        ["AMD Radeon", 2],
        ["a card of another maker", 2],
      ] as const) {
        expect(() => isolatingVariables(name, { position: 0, count }, cards)).to.throw(
          `${count} adapters are called ${name}, and Linux lists no ${count} cards that they could be`,
        );
      }
    });
  });

  it("are taken by their index, in the order they are listed in", async function () {
    const archive = await findArchive();
    const lavapipe = await chooseAdapter({ prefer: "lavapipe" }).catch(() => undefined);
    if (!lavapipe || !archive) this.skip(); // which takes two drivers
    const before = ["VK_DRIVER_FILES", "DINO_ADAPTER"].map((name) => [name, process.env[name]] as const);
    const lvp = process.env["VK_DRIVER_FILES"] ?? "/usr/share/vulkan/icd.d/lvp_icd.json";
    process.env["VK_DRIVER_FILES"] = `${lvp}:${(await unpackSwiftShader(archive)).icd}`;
    delete process.env["DINO_ADAPTER"];
    try {
      const all = await (await chooseAdapter()).list();
      expect(all).to.have.length(2);
      for (const [index, name] of all.entries()) {
        const word = [/swiftshader/i, /llvmpipe/].find((word) => word.test(name))!;
        expect((await chooseAdapter({ index })).name).to.match(word);
      }
      expect(await rejection(chooseAdapter({ index: 2 }))).to.match(/^adapter 2: expected one of 0 .*, 1 /);
    } finally {
      for (const [name, value] of before) {
        if (value === undefined) Reflect.deleteProperty(process.env, name);
        else process.env[name] = value;
      }
    }
  });
});
