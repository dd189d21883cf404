import { expect } from "chai";
import {
  advise,
  aptSourceOf,
  describe as layOut,
  diagnose,
  type Machine,
  mesaCommands,
} from "../../../dino/experiments/doctor.js";

const machine: Machine = {
  platform: "linux",
  arch: "x64",
  system: "Debian GNU/Linux 12",
  distribution: {
    id: "debian",
    like: [],
    codename: "bookworm",
    apt: { uri: "http://mirror/debian", keyring: "/k.gpg" },
  },
  processor: "2 x CPU",
  memoryBytes: 2 ** 33,
  cards: [],
  mayOpenCards: undefined,
  node: "20.0.0",
  webgpu: "0.6.2",
};

describe("aptSourceOf", () => {
  it("reads deb822 paragraphs", () => {
    const list = [
      "Types: deb",
      "# a comment inside a paragraph",
      "URIs: http://mirror/debian",
      "Suites: bookworm bookworm-updates",
      "Components: main",
      "Signed-By: /usr/share/keyrings/archive.gpg",
      "",
      "Types: deb",
      "URIs: http://mirror/debian-security",
      "Suites: bookworm-security",
    ].join("\n");
    const found = { uri: "http://mirror/debian", keyring: "/usr/share/keyrings/archive.gpg" };
    expect(aptSourceOf(["", list], "bookworm")).to.deep.equal(found);
    expect(aptSourceOf([list], "trixie")).to.equal(undefined);
    expect(aptSourceOf([`Enabled: no\n${list}`], "bookworm")).to.equal(undefined);
  });

  it("reads one line a source", () => {
    const list = [
      "# deb http://old/debian bookworm main",
      "deb-src http://source/debian bookworm main",
      "deb http://other/debian bookworm-backports main",
      "deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian bookworm main contrib",
    ].join("\n");
    expect(aptSourceOf([list], "bookworm")).to.deep.equal({ uri: "http://mirror/debian", keyring: "/k.gpg" });
    const bare = aptSourceOf(["deb http://mirror/debian bookworm main"], "bookworm");
    expect(bare).to.deep.equal({ uri: "http://mirror/debian", keyring: undefined });
  });
});

describe("advise", () => {
  it("has none for a machine with a GPU", () => {
    expect(advise("gpu", [], machine)).to.deep.equal([]);
  });

  it("points out a better adapter that is there", () => {
    const others = [{ kind: "lavapipe", name: "llvmpipe" }] as const;
    expect(advise("swiftshader", others, machine).join()).to.match(/DINO_ADAPTER=lavapipe/);
  });

  it("tells how to replace SwiftShader, out of the machine's own mirror", () => {
    const [advice] = advise("swiftshader", [{ kind: "lavapipe", error: "not installed" }], machine);
    expect(advice).to.contain('"deb [signed-by=/k.gpg] http://mirror/debian bookworm-backports main"');
    expect(advice).to.contain("apt install -t bookworm-backports libvulkan1 mesa-vulkan-drivers");
  });

  it("sees cards whose driver is missing", () => {
    expect(advise("lavapipe", [], { ...machine, cards: ["NVIDIA"] }).join()).to.match(/NVIDIA_DRIVER_CAPABILITIES=all/);
    const amd = { ...machine, cards: ["AMD"] } as const;
    expect(advise("lavapipe", [], { ...amd, mayOpenCards: false }).join()).to.match(/usermod -aG render/);
    expect(advise("lavapipe", [], amd).join()).to.match(/--device \/dev\/dri/);
    expect(advise("lavapipe", [], { ...amd, mayOpenCards: true }).join()).to.match(/apt install/);
  });

  it("knows the package managers", () => {
    const commands = (id: string, ...like: string[]) => mesaCommands({ id, like, codename: "", apt: undefined });
    expect(commands("ubuntu", "debian")).to.match(/^sudo apt/);
    expect(commands("fedora")).to.match(/^sudo dnf/);
    expect(commands("manjaro", "arch")).to.match(/^sudo pacman/);
    expect(commands("opensuse-leap", "suse", "opensuse")).to.match(/^sudo zypper/);
    expect(mesaCommands(undefined)).to.match(/lvp_icd\.json/);
  });
});

describe("diagnose", () => {
  it("names the adapter of this machine and what it can do", async () => {
    const diagnosis = await diagnose();
    const { chosen, devices, others } = diagnosis;
    if ("error" in chosen) throw new Error(chosen.error);
    expect(chosen.limits.bindingBytes).to.be.at.least(128 * 2 ** 20);
    expect(others.map(({ kind }) => kind)).not.to.include(chosen.kind);
    expect(JSON.parse(JSON.stringify(diagnosis))).to.have.nested.property("machine.webgpu");
    expect(devices).to.have.length.above(0);
    expect(layOut(diagnosis)).to.contain(`--device 0: ${devices[0]!}`);
    expect(layOut(diagnosis)).to.contain(chosen.name).and.to.contain(chosen.why);
  });

  it("lays out a machine without an adapter", () => {
    const text = layOut({
      chosen: { error: "nothing" },
      devices: [],
      others: [],
      machine,
      advice: ["one\ntwo", "three"],
    });
    expect(text).to.match(/^adapter +none: nothing\n/);
    expect(text).to.match(/\nfaster +one\n +two\n +three$/);
  });
});

describe("the report", () => {
  it("says how kernels are chosen", async () => {
    const found = await diagnose();
    if ("error" in found.chosen) throw new Error(found.chosen.error);
    const chosen = found.chosen;
    const lines = (tuned: number) => layOut({ ...found, chosen: { ...chosen, tuned } });
    expect(lines(3)).to.match(/^kernels +3 as tuned, else by the rules$/m);
    expect(lines(0)).to.match(/^kernels +by the rules; dino tune measures them$/m);
  });

  it("says what the adapter gets wrong", async () => {
    const found = await diagnose();
    if ("error" in found.chosen) throw new Error(found.chosen.error);
    expect(found.chosen.faults).to.deep.equal([]);
    const chosen = { ...found.chosen, faults: ["16-bit floats give wrong results", "tensor cores too"] };
    expect(layOut({ ...found, chosen })).to.match(/^faults +16-bit floats give wrong results\n +tensor cores too$/m);
  });
});
