/** Constants of the model: measured on this machine, or assumed for others. */

/** A constant of the model. */
export interface Constant {
  readonly value: number;
  readonly unit: string;
  /** Description. */
  readonly of: string;
  /** Source of the value. */
  readonly source: string;
}

const H100 = "[data sheet](https://www.nvidia.com/en-us/data-center/h100/)";
const DGX = "[DGX H100](https://docs.nvidia.com/dgx/dgxh100-user-guide/introduction-to-dgxh100.html)";

const TWO_CORES = "two cores, Open MPI 4.1";

/** Default values of all constants; the last five are replaced by measurements if possible. */
export const assumed = {
  tflops: {
    value: 100,
    unit: "TFLOP/s",
    of: "forward and backward in f16 on an H100",
    source: `half of the aim for products alone (PERFORMANCE.md), a tenth of the peak of 989 (${H100})`,
  },
  memoryTB: {
    value: 2.3,
    unit: "TB/s",
    of: "the optimizer on an H100",
    source: `70 % of 3.35 (${H100}), the aim of PERFORMANCE.md`,
  },
  hostLinkGB: {
    value: 50,
    unit: "GB/s",
    of: "read-back and upload, each way",
    source: "PCIe 5.0 x16: 63 GB/s less what its packets take",
  },
  gpusPerMachine: { value: 8, unit: "", of: "GPUs of a machine", source: DGX },
  networkGbit: {
    value: 400,
    unit: "Gbit/s",
    of: "the network of a machine, each way, all its GPUs together",
    source: `one port of ConnectX-7; ${DGX} has eight for its GPUs`,
  },
  networkUs: {
    value: 5,
    unit: "us",
    of: "a message between machines",
    source: "InfiniBand and RoCE under MPI: 1 to 5; TCP over Ethernet: 20 to 50",
  },
  images: {
    value: 64,
    unit: "",
    of: "images of a step on each GPU",
    source: "`--batch_size_per_gpu` of the official code",
  },
  networkAddGB: {
    value: 10,
    unit: "GB/s",
    of: "adding what came over the network, by one core",
    source: "three passes over memory, of which a core does some 30 GB/s",
  },
  crossingUs: { value: 46, unit: "us", of: "a read-back or upload, however small", source: "two cores, lavapipe" },
  callUs: { value: 23, unit: "us", of: "a call of MPI through koffi, on a thread", source: TWO_CORES },
  sharedUs: { value: 5, unit: "us", of: "a message between ranks of a machine", source: TWO_CORES },
  sharedGB: { value: 3, unit: "GB/s", of: "bytes sent to a rank of the same machine", source: TWO_CORES },
  sharedAddGB: {
    value: 1000,
    unit: "GB/s",
    of: "adding what came from there, beyond what receiving takes",
    source: TWO_CORES,
  },
} as const satisfies Record<string, Constant>;

export type ConstantName = keyof typeof assumed;
export type Constants = Readonly<Record<ConstantName, Constant>>;

/** Reads "networkGbit=100". Throws for unknown names, and unless the value is a positive number. */
export function readAssumption(text: string): readonly [ConstantName, number] {
  const [name = "", number = ""] = text.split("=");
  if (!(name in assumed)) {
    throw new Error(`--assume ${text}: expected NAME=NUMBER with one of ${Object.keys(assumed).join(", ")}`);
  }
  const value = Number(number);
  if (!(value > 0 && Number.isFinite(value)))
    throw new Error(`--assume ${text}: expected a number above 0, got ${number}`);
  return [name as ConstantName, value];
}

/** Merges the constants: given values take precedence over measured ones, and these over the defaults. */
export function mergeConstants(
  measured: Partial<Readonly<Record<ConstantName, Pick<Constant, "value" | "source">>>>,
  given: ReadonlyMap<ConstantName, number>,
): Constants {
  const names = Object.keys(assumed) as ConstantName[];
  return Object.fromEntries(
    names.map((name) => {
      const own = given.has(name) ? { value: given.get(name)!, source: "`--assume`" } : measured[name];
      return [name, { ...assumed[name], ...own }];
    }),
  ) as Record<ConstantName, Constant>;
}
