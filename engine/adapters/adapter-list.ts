/** Several adapters in one machine: their names, and how Vulkan is made to show one of several that have the same. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** Asks Dawn for an adapter of this name, which none has: it answers with the names that there are. */
export const UNKNOWN_ADAPTER = "none of this name";

/** The adapters in that answer, in Dawn's order: those of its first backend, and those that compute on a CPU if there are no others. */
export function parseAdapters(answer: string): readonly string[] {
  const all = [...answer.matchAll(/backend: '(.*)', name: '(.*)'/g)].map(([, backend, name]) => ({
    backend,
    name: name!,
  }));
  const names = all.filter(({ backend }) => backend === all[0]!.backend).map(({ name }) => name);
  const gpus = names.filter((name) => !/^(llvmpipe|lavapipe|swiftshader|microsoft basic)/i.test(name));
  return gpus.length > 0 ? gpus : names;
}

/** A graphics card as Linux lists it. */
export interface Card {
  /** Such as "0000:41:00.0". */
  readonly address: string;
  /** Of maker and model, such as "0x10de". */
  readonly vendor: string;
  readonly device: string;
}

const VENDORS = [
  { name: /nvidia|geforce|quadro|tesla/i, vendor: "0x10de" },
  { name: /amd|radeon/i, vendor: "0x1002" },
  { name: /intel/i, vendor: "0x8086" },
] as const;

/**
 * The variables by which Mesa's layer for the choice of a device, which other makers' drivers obey too, shows nothing but one of
 * several adapters of the same name: number `place` of `count`, in the order of their slots. Throws where cards do not fit.
 */
export function isolatingVariables(
  name: string,
  { place, count }: { readonly place: number; readonly count: number },
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
  const { address } = candidates[0]!.toSorted((a, b) => (a.address < b.address ? -1 : 1))[place]!;
  return { DRI_PRIME: `pci-${address.replaceAll(/[:.]/g, "_")}!` };
}

const PCI = "/sys/bus/pci/devices";
const DISPLAY_CLASS = "0x03";

/** The graphics cards that Linux lists. */
export function listCards(): readonly Card[] {
  return (existsSync(PCI) ? readdirSync(PCI) : []).flatMap((address) => {
    const read = (file: string) => readFileSync(join(PCI, address, file), "utf8").trim();
    return read("class").startsWith(DISPLAY_CLASS) ? [{ address, vendor: read("vendor"), device: read("device") }] : [];
  });
}

/** Whether Mesa's layer for the choice of a device is installed. */
export function hasDeviceLayer(): boolean {
  const folders = ["/usr/share", "/usr/local/share", "/etc", join(homedir(), ".local/share")];
  return folders.some((folder) => existsSync(join(folder, "vulkan/implicit_layer.d/VkLayer_MESA_device_select.json")));
}
