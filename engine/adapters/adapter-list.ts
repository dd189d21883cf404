/** Several adapters in one machine: their names, and selection of one among adapters of the same name. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** A name that no adapter has; Dawn answers a request for it with the names of all adapters. */
export const UNKNOWN_ADAPTER = "none of this name";

/** Parses that answer: the adapters of the first backend, in Dawn's order; CPU adapters only if there are no others. */
export function parseAdapters(answer: string): readonly string[] {
  const all = [...answer.matchAll(/backend: '(.*)', name: '(.*)'/g)].map(([, backend, name]) => ({
    backend,
    name: name!,
  }));
  const names = all.filter(({ backend }) => backend === all[0]!.backend).map(({ name }) => name);
  const gpus = names.filter((name) => !/^(llvmpipe|lavapipe|swiftshader|microsoft basic)/i.test(name));
  return gpus.length > 0 ? gpus : names;
}

/** A graphics card, as listed by Linux. */
export interface Card {
  /** PCI address, such as "0000:41:00.0". */
  readonly address: string;
  /** PCI vendor and device ids, such as "0x10de". */
  readonly vendor: string;
  readonly device: string;
}

const VENDORS = [
  { name: /nvidia|geforce|quadro|tesla/i, vendor: "0x10de" },
  { name: /amd|radeon/i, vendor: "0x1002" },
  { name: /intel/i, vendor: "0x8086" },
] as const;

/**
 * Returns environment variables that make one of several adapters of the same name visible: number `position` of `count`, in
 * order of their slots. Mesa's device selection layer reads them, for drivers of all vendors. Throws if the cards that Linux
 * lists do not match the adapters.
 */
export function isolatingVariables(
  name: string,
  { position, count }: { readonly position: number; readonly count: number },
  cards: readonly Card[],
): Readonly<Record<string, string>> {
  const vendor = VENDORS.find((maker) => maker.name.test(name))?.vendor;
  const vendorCards = cards.filter((card) => card.vendor === vendor);
  const models = [...new Set(vendorCards.map(({ device }) => device))];
  const candidates = models
    .map((model) => vendorCards.filter(({ device }) => device === model))
    .filter(({ length }) => length === count);
  if (candidates.length !== 1) {
    throw new Error(
      `${count} adapters are called ${name}, and Linux lists no ${count} cards that they could be; show each process its own ` +
        "alone, as Slurm and Kubernetes do",
    );
  }
  const { address } = candidates[0]!.toSorted((a, b) => (a.address < b.address ? -1 : 1))[position]!;
  return { DRI_PRIME: `pci-${address.replaceAll(/[:.]/g, "_")}!` };
}

const PCI = "/sys/bus/pci/devices";
const DISPLAY_CLASS = "0x03";

/** Lists the graphics cards by Linux. */
export function listCards(): readonly Card[] {
  return (existsSync(PCI) ? readdirSync(PCI) : []).flatMap((address) => {
    const read = (file: string) => readFileSync(join(PCI, address, file), "utf8").trim();
    return read("class").startsWith(DISPLAY_CLASS) ? [{ address, vendor: read("vendor"), device: read("device") }] : [];
  });
}

/** Whether Mesa's device selection layer is installed. */
export function hasDeviceLayer(): boolean {
  const folders = ["/usr/share", "/usr/local/share", "/etc", join(homedir(), ".local/share")];
  return folders.some((folder) => existsSync(join(folder, "vulkan/implicit_layer.d/VkLayer_MESA_device_select.json")));
}
