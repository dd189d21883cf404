import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { arch, availableParallelism, cpus, platform, release, totalmem } from "node:os";
import { join } from "node:path";
import {
  type AdapterKind,
  chooseAdapter,
  openDevice,
  readChoices,
  subgroupMatrixConfigs,
  tunedPath,
} from "../../engine/adapters/node.js";
import { formatMiB } from "../files/text.js";

/** The result of `dino doctor`. */
export interface Diagnosis {
  /** The adapter that training would use, or the error if there is none. */
  readonly chosen: AdapterReport | { readonly error: string };
  /** Adapters of its drivers, by the index of --device, including the chosen one. */
  readonly devices: readonly string[];
  /** The other kinds of adapters. */
  readonly others: readonly OtherAdapter[];
  readonly machine: Machine;
  /** Advice for more speed, most useful first. */
  readonly advice: readonly string[];
}

export interface AdapterReport {
  readonly kind: AdapterKind;
  readonly name: string;
  readonly why: string;
  readonly limits: {
    readonly bufferBytes: number;
    readonly bindingBytes: number;
    readonly storageBuffers: number;
    readonly workgroupThreads: number;
    readonly workgroupBytes: number;
  };
  readonly f16: boolean;
  /** Narrowest and widest subgroup, where the adapter has subgroups. */
  readonly subgroups: readonly [number, number] | undefined;
  /** Shapes of subgroup matrix products, such as "f16 16x16x16 -> f32". */
  readonly subgroupMatrices: readonly string[];
  /** Capabilities that gave wrong results when they were first used. */
  readonly faults: readonly string[];
  readonly timestamps: boolean;
  /** Kernels that `dino tune` chose instead of the rules. */
  readonly tuned: number;
}

/** A kind of adapter that was not chosen: its name if available, otherwise the error. */
export type OtherAdapter = { readonly kind: AdapterKind } & ({ readonly name: string } | { readonly error: string });

export interface Machine {
  readonly platform: NodeJS.Platform;
  readonly arch: string;
  /** Name of the system, with its kernel. */
  readonly system: string;
  readonly distribution: Distribution | undefined;
  readonly processor: string;
  readonly memoryBytes: number;
  /** Vendors of the graphics cards that Linux lists, with or without a driver. */
  readonly cards: readonly Maker[];
  /** Whether this user may open the cards' device files; undefined if there are none. */
  readonly mayOpenCards: boolean | undefined;
  readonly node: string;
  readonly webgpu: string;
}

/** A Linux distribution by its os-release file. */
export interface Distribution {
  readonly id: string;
  readonly like: readonly string[];
  readonly codename: string;
  /** The apt source of this release, for distributions with apt. */
  readonly apt: AptSource | undefined;
}

export interface AptSource {
  readonly uri: string;
  readonly keyring: string | undefined;
}

type Maker = "NVIDIA" | "AMD" | "Intel";

/**
 * Returns the report of `dino doctor`: the chosen adapter, the reason, the other adapters, capabilities, and advice.
 */
export async function doctor(): Promise<string> {
  return describe(await diagnose());
}

/**
 * Returns the same as plain values, for `dino doctor --json`. Throws only for a `DINO_ADAPTER` that names no kind of
 * adapter.
 */
export async function diagnose(): Promise<Diagnosis> {
  const { chosen, devices } = await adapterReport();
  const kind = "error" in chosen ? undefined : chosen.kind;
  const others: OtherAdapter[] = [];
  for (const prefer of ["gpu", "lavapipe", "swiftshader"] as const) {
    if (prefer === kind) continue;
    const answer = chooseAdapter({ prefer }).then(
      ({ name }) => ({ kind: prefer, name }),
      (error: unknown) => ({ kind: prefer, error: messageOf(error) }),
    );
    others.push(await answer);
  }
  const machine = inspectMachine();
  return { chosen, devices, others, machine, advice: advise(kind, others, machine) };
}

/** Formats a diagnosis for a terminal. */
export function describe({ chosen, devices, others, machine, advice }: Diagnosis): string {
  const rows: (readonly [string, string])[] = [];
  if ("error" in chosen) rows.push(["adapter", `none: ${chosen.error}`]);
  else {
    const { limits, subgroups, subgroupMatrices } = chosen;
    const widths = subgroups && (subgroups[0] === subgroups[1] ? `${subgroups[0]}` : subgroups.join(" to "));
    rows.push(
      ["adapter", `${chosen.kind}: ${chosen.name}`],
      ["because", chosen.why],
      [
        "limits",
        `${formatMiB(limits.bufferBytes, Math.round)} a buffer, ${formatMiB(limits.bindingBytes, Math.round)} a binding`,
      ],
      ["", `${limits.storageBuffers} storage buffers a kernel`],
      ["", `${limits.workgroupThreads} threads and ${limits.workgroupBytes / 1024} KiB a workgroup`],
      ["16-bit floats", chosen.f16 ? "yes (shader-f16)" : "no: mixed precision is off"],
      ["subgroups", widths === undefined ? "no" : `yes, ${widths} wide`],
      ["tensor cores", subgroupMatrices.length === 0 ? "no subgroup matrices" : subgroupMatrices.join(", ")],
      ...chosen.faults.map((fault, i) => [i === 0 ? "faults" : "", fault] as const),
      ["timestamps", chosen.timestamps ? "yes" : "no: kernels are timed from the host"],
      [
        "kernels",
        chosen.tuned === 0 ? "by the rules; dino tune measures them" : `${chosen.tuned} as tuned, else by the rules`,
      ],
    );
  }
  rows.push(
    ...devices.map((name, index) => [index === 0 ? "devices" : "", `--device ${index}: ${name}`] as const),
    ...others.map(
      (other, i) =>
        [i === 0 ? "others" : "", `${other.kind}: ${"name" in other ? other.name : `none: ${other.error}`}`] as const,
    ),
    ["machine", `${machine.processor}, ${formatMiB(machine.memoryBytes, Math.round)}`],
    ["", machine.cards.length === 0 ? "" : `graphics cards: ${machine.cards.join(", ")}`],
    ["system", machine.system],
    ["versions", `Node ${machine.node}, webgpu ${machine.webgpu}`],
    ...advice.map((words, i) => [i === 0 ? "faster" : "", words] as const),
  );
  return rows
    .filter(([, words]) => words !== "")
    .map(([title, words]) => `${title.padEnd(16)}${words.replaceAll("\n", `\n${" ".repeat(16)}`)}`)
    .join("\n");
}

/** Returns advice for more speed, most useful first; `kind` is undefined without any adapter. */
export function advise(
  kind: AdapterKind | undefined,
  others: readonly OtherAdapter[],
  machine: Machine,
): readonly string[] {
  if (kind === "gpu") return [];
  const better = others.find((other) => "name" in other && (other.kind === "gpu" || kind !== "lavapipe"));
  if (better) return [`A better adapter is available: set DINO_ADAPTER=${better.kind}, or leave DINO_ADAPTER unset.`];
  const advice: string[] = [];
  if (machine.cards.includes("NVIDIA")) {
    advice.push(
      "The NVIDIA card has no Vulkan driver. In a container: start it with --gpus all and\n" +
        "NVIDIA_DRIVER_CAPABILITIES=all. Elsewhere: install the Vulkan part of the driver (nvidia-vulkan-icd, libnvidia-gl).",
    );
  }
  const mesaCards = machine.cards.filter((maker) => maker !== "NVIDIA");
  if (mesaCards.length > 0) {
    const card = `A card from ${mesaCards.join(" and ")} is present`;
    if (machine.mayOpenCards === false) {
      advice.push(`${card}, but this user may not open it:\nsudo usermod -aG render,video $USER   (then log in again)`);
    } else if (machine.mayOpenCards === undefined) {
      advice.push(`${card}, but has no device file. In a container: start it with --device /dev/dri.`);
    } else advice.push(`${card}; its Vulkan driver is part of Mesa:\n${mesaCommands(machine.distribution)}`);
  }
  if (machine.platform === "linux" && kind !== "lavapipe") {
    const gain =
      kind === "swiftshader" ? "is about five times faster than the packaged SwiftShader" : "computes on the CPU";
    advice.push(`Mesa's lavapipe, version 25 or newer, ${gain}:\n${mesaCommands(machine.distribution)}`);
  }
  if (machine.cards.length === 0)
    advice.push("Any GPU from NVIDIA, AMD, Intel or Apple with its driver is faster than a CPU.");
  return advice;
}

/** Returns the commands that install Mesa's Vulkan drivers, new enough for Dawn, on a distribution. */
export function mesaCommands(known: Distribution | undefined): string {
  const names = known ? [known.id, ...known.like] : [];
  if (known?.id === "debian" && known.codename === "bookworm") {
    const suite = "bookworm-backports"; // bookworm's own Mesa is refused by Dawn
    const { uri = "MIRROR", keyring } = known.apt ?? {};
    const source = `deb ${keyring === undefined ? "" : `[signed-by=${keyring}] `}${uri} ${suite} main`;
    return [
      `echo "${source}" | sudo tee /etc/apt/sources.list.d/backports.list`,
      `sudo apt update && sudo apt install -t ${suite} libvulkan1 mesa-vulkan-drivers`,
    ].join("\n");
  }
  if (names.includes("debian")) return "sudo apt update && sudo apt install libvulkan1 mesa-vulkan-drivers";
  if (names.includes("fedora")) return "sudo dnf install vulkan-loader mesa-vulkan-drivers";
  if (names.includes("arch")) return "sudo pacman -S vulkan-icd-loader vulkan-swrast";
  if (names.includes("suse")) return "sudo zypper install libvulkan1 libvulkan_lvp";
  return "install the packages that hold libvulkan.so.1 and lvp_icd.json";
}

/** Finds the apt source of a release's own packages in the texts of source lists, in one-line or deb822 format. */
export function aptSourceOf(lists: readonly string[], codename: string): AptSource | undefined {
  for (const list of lists) {
    const text = list.replace(/^\s*#.*\n?/gm, "");
    for (const [, options = "", uri, suite] of text.matchAll(/^deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)/gm)) {
      if (suite === codename) return { uri: uri!, keyring: /signed-by=(\/\S+)/.exec(options)?.[1] };
    }
    for (const paragraph of text.split(/\n\s*\n/)) {
      const field = (name: string) =>
        new RegExp(`^${name}:[ \\t]*(.*)$`, "im").exec(paragraph)?.[1]?.split(/\s+/) ?? [];
      const uri = field("URIs")[0];
      if (!uri || !field("Types").includes("deb") || !field("Suites").includes(codename)) continue;
      if (field("Enabled")[0] === "no") continue;
      return { uri, keyring: field("Signed-By").find((path) => path.startsWith("/")) };
    }
  }
  return undefined;
}

async function adapterReport(): Promise<Pick<Diagnosis, "chosen" | "devices">> {
  try {
    const { adapter, kind, name, why, list } = await chooseAdapter();
    const { limits, features } = adapter;
    const { info } = adapter;
    const chosen: AdapterReport = {
      kind,
      name,
      why,
      limits: {
        bufferBytes: limits.maxBufferSize,
        bindingBytes: limits.maxStorageBufferBindingSize,
        storageBuffers: limits.maxStorageBuffersPerShaderStage,
        workgroupThreads: limits.maxComputeInvocationsPerWorkgroup,
        workgroupBytes: limits.maxComputeWorkgroupStorageSize,
      },
      f16: features.has("shader-f16"),
      subgroups: features.has("subgroups") ? [info.subgroupMinSize ?? 4, info.subgroupMaxSize ?? 128] : undefined,
      subgroupMatrices: subgroupMatrixConfigs(info).map(
        ({ componentType, resultComponentType, M, N, K }) =>
          `${componentType} ${M}x${N}x${K} -> ${resultComponentType}`,
      ),
      faults: await faultsOf(),
      timestamps: features.has("timestamp-query"),
      tuned: Object.keys(readChoices(tunedPath(name))).length,
    };
    return { chosen, devices: await list() };
  } catch (error) {
    return { chosen: { error: messageOf(error) }, devices: [] };
  }
}

async function faultsOf(): Promise<readonly string[]> {
  using device = await openDevice();
  return device.faults;
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/^adapter: /, "");
}

function inspectMachine(): Machine {
  const release_ = osRelease();
  const processors = cpus();
  const { version } = createRequire(import.meta.url)("webgpu/package.json") as { readonly version: string };
  return {
    platform: platform(),
    arch: arch(),
    system: [release_.PRETTY_NAME, `${platform()} ${release()} ${arch()}`].filter((words) => words).join(", "),
    distribution: release_.ID === undefined ? undefined : distribution(release_),
    processor: `${availableParallelism()} x ${processors[0]?.model.trim() ?? arch()}`,
    memoryBytes: totalmem(),
    cards: cards(),
    mayOpenCards: mayOpenCards(),
    node: process.versions.node,
    webgpu: version,
  };
}

type OsRelease = Readonly<Partial<Record<string, string>>>;

function osRelease(): OsRelease {
  if (!existsSync("/etc/os-release")) return {};
  const lines = readFileSync("/etc/os-release", "utf8").matchAll(/^(\w+)="?(.*?)"?$/gm);
  return Object.fromEntries([...lines].map(([, name, value]) => [name!, value!]));
}

function distribution({ ID = "", ID_LIKE = "", VERSION_CODENAME = "" }: OsRelease): Distribution {
  return {
    id: ID,
    like: ID_LIKE.split(" "),
    codename: VERSION_CODENAME,
    apt: aptSourceOf(aptLists(), VERSION_CODENAME),
  };
}

function aptLists(): readonly string[] {
  const folder = "/etc/apt/sources.list.d";
  const parts = existsSync(folder) ? readdirSync(folder).filter((name) => /\.(list|sources)$/.test(name)) : [];
  return ["/etc/apt/sources.list", ...parts.map((name) => join(folder, name))]
    .filter((path) => existsSync(path))
    .map((path) => readFileSync(path, "utf8"));
}

const MAKERS: ReadonlyMap<string, Maker> = new Map([
  ["0x10de", "NVIDIA"],
  ["0x1002", "AMD"],
  ["0x8086", "Intel"],
]);

const PCI = "/sys/bus/pci/devices";

function cards(): readonly Maker[] {
  const found = new Set<Maker>();
  if (existsSync("/dev/nvidia0")) found.add("NVIDIA");
  for (const slot of existsSync(PCI) ? readdirSync(PCI) : []) {
    const read = (file: string) => readFileSync(join(PCI, slot, file), "utf8").trim();
    const maker = MAKERS.get(read("vendor"));
    if (maker && read("class").startsWith("0x03")) found.add(maker); // 03: display controllers
  }
  return [...found];
}

function mayOpenCards(): boolean | undefined {
  const nodes = existsSync("/dev/dri") ? readdirSync("/dev/dri").filter((name) => name.startsWith("renderD")) : [];
  if (nodes.length === 0) return undefined;
  return nodes.some((name) => {
    try {
      accessSync(join("/dev/dri", name), constants.R_OK | constants.W_OK);
      return true;
    } catch {
      return false;
    }
  });
}
