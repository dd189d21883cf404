import { closeSync, existsSync, fstatSync, readdirSync, readSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, globals } from "webgpu";
import { type AdapterKind, adapterKind, adapterName } from "../core/device.js";
import { parseAdapters, hasDeviceLayer, listCards, UNKNOWN_ADAPTER, isolatingVariables } from "./adapter-list.js";
import { type Archive, findArchive, unpackSwiftShader } from "./swiftshader.js";

/** What can be asked for, in a call or through `DINO_ADAPTER`. */
export type Preference = (typeof PREFERENCES)[number];
const PREFERENCES = ["gpu", "lavapipe", "swiftshader", "null"] as const;

/** An adapter, and how it came to be chosen. */
export interface AdapterChoice {
  readonly gpu: GPU;
  readonly adapter: GPUAdapter;
  readonly kind: AdapterKind;
  /** What the driver calls itself. */
  readonly name: string;
  /** One sentence: why this adapter and no better one. */
  readonly why: string;
  /** Names all adapters that the same drivers have; an `index` counts them from 0. */
  readonly list: () => Promise<readonly string[]>;
}

/** What to choose. */
export interface AdapterOptions {
  /** One kind; else the variable `DINO_ADAPTER` asks for one, or the best is taken. */
  readonly prefer?: Preference;
  /** One of several that the same drivers have, from 0; the fastest if left out. */
  readonly index?: number | undefined;
}

/** What the choice depends on, looked up beforehand so that the decision itself needs no driver. */
export interface NodeEnvironment {
  /** As Node calls it, such as "linux". */
  readonly platform: string;
  readonly prefer: Preference | undefined;
  /** The user's own `VK_DRIVER_FILES` (or `VK_ICD_FILENAMES`, its name before Vulkan 1.3.207). */
  readonly userDrivers: string | undefined;
  /** Lavapipe's driver file, where Mesa is installed. */
  readonly lavapipe: string | undefined;
  /** Whether a packaged SwiftShader fits this machine. */
  readonly swiftShader: boolean;
}

/** One way to an adapter: which drivers Vulkan shall see, and what is taken if it comes. */
export interface Attempt {
  readonly drivers: "all" | "lavapipe" | "swiftshader" | "user" | "none";
  readonly accepts: readonly AdapterKind[];
}

const ANY: readonly AdapterKind[] = ["gpu", "lavapipe", "swiftshader", "software"];

/** The ways to try, best first; empty where what was asked for cannot be had. */
export function attempts(at: NodeEnvironment): readonly Attempt[] {
  const { platform, prefer, userDrivers: drivers, lavapipe, swiftShader } = at;
  if (prefer === "null") return [{ drivers: "none", accepts: ["null"] }];
  if (drivers !== undefined) return [{ drivers: "user", accepts: prefer ? [prefer] : ANY }];
  if (prefer === "gpu") return [{ drivers: "all", accepts: ["gpu"] }];
  if (prefer === "lavapipe") return lavapipe === undefined ? [] : [{ drivers: "lavapipe", accepts: ["lavapipe"] }];
  if (prefer === "swiftshader") return swiftShader ? [{ drivers: "swiftshader", accepts: ["swiftshader"] }] : [];
  prefer satisfies undefined;
  if (platform !== "linux") return [{ drivers: "all", accepts: ANY }];
  return [
    { drivers: "all", accepts: ["gpu", "lavapipe"] },
    ...(lavapipe === undefined ? [] : [{ drivers: "lavapipe", accepts: ["lavapipe"] } as const]),
    ...(swiftShader ? [{ drivers: "swiftshader", accepts: ["swiftshader"] } as const] : []),
    { drivers: "all", accepts: ANY },
  ];
}

/**
 * The best adapter of this machine: a real GPU, else Mesa's lavapipe, else SwiftShader from an optional dependency
 * (Linux x64; needs neither root nor a system Vulkan). `prefer`, or else the variable `DINO_ADAPTER`, asks for one kind;
 * a `VK_DRIVER_FILES` of the user's is left as it is. Throws one error that says what was tried and what to install.
 */
export async function chooseAdapter(options: AdapterOptions = {}): Promise<AdapterChoice> {
  const prefer = options.prefer ?? preferenceOf(process.env.DINO_ADAPTER);
  const archive = await findArchive();
  const environment: NodeEnvironment = {
    platform: process.platform,
    prefer,
    userDrivers: userDrivers(),
    lavapipe: findLavapipe(),
    swiftShader: archive !== undefined,
  };
  const refusals: Refusal[] = [];
  for (const attempt of attempts(environment)) {
    const drivers = describeDrivers(attempt, environment);
    const note = (...said: readonly string[]) => {
      const words = said.filter((part) => part !== "").join(", ");
      const alreadyRefused = refusals.some((refusal) => refusal.drivers === drivers); // asked again, a driver says less
      if (words !== "" && !alreadyRefused) refusals.push({ drivers, message: words });
    };
    try {
      const { complaints, ...choice } = await open(attempt, environment, { archive, index: options.index });
      const accepted = attempt.accepts.includes(choice.kind);
      note(complaints, accepted ? "" : `only ${choice.name}`);
      if (accepted) return { ...choice, why: reason(choice.kind, environment, refusals) };
    } catch (error) {
      if (error instanceof NoSuchIndexError) throw error;
      note(error instanceof Error ? error.message : String(error));
    }
  }
  throw new Error(noAdapter(environment, refusals));
}

/** Reads `DINO_ADAPTER`; throws for a value that names no kind of adapter. */
export function preferenceOf(variable: string | undefined): Preference | undefined {
  if (variable === undefined || variable === "") return undefined;
  const found = PREFERENCES.find((preference) => preference === variable);
  if (!found) throw new Error(`DINO_ADAPTER=${variable}: expected one of ${PREFERENCES.join(", ")}`);
  return found;
}

/** What some drivers, or Dawn on their behalf, answered instead of giving the adapter that was wanted. */
export interface Refusal {
  readonly drivers: string;
  readonly message: string;
}

/** Why this kind was taken; the refusals tell what better ones said. */
export function reason(kind: AdapterKind, at: NodeEnvironment, refusals: readonly Refusal[]): string {
  if (at.userDrivers !== undefined && kind !== "null") return `VK_DRIVER_FILES names ${at.userDrivers}`;
  if (at.prefer !== undefined) return `${at.prefer} was asked for`;
  const heard = refusals.length === 0 ? "" : ` (${formatRefusals(refusals)})`;
  switch (kind) {
    case "gpu":
      return "a GPU of this machine";
    case "lavapipe":
      return `no GPU that Dawn accepts, and Mesa's lavapipe is installed${heard}`;
    case "swiftshader":
      return `neither a GPU nor a lavapipe that Dawn accepts, and SwiftShader needs no installing${heard}`;
    case "software":
      return `no GPU that Dawn accepts, and the system has a driver for the CPU${heard}`;
    case "null":
      return "it computes nothing";
    default:
      return kind satisfies never;
  }
}

/** The one error of a machine that cannot give what was asked for. */
export function noAdapter(at: NodeEnvironment, refusals: readonly Refusal[]): string {
  const { problem, remedy } = diagnosis(at, refusals.length > 0);
  return `adapter: ${problem}${refusals.length === 0 ? "" : `. Tried ${formatRefusals(refusals)}`}. ${remedy}`;
}

const MESA_PACKAGES = "libvulkan1 and mesa-vulkan-drivers 25 or newer (for Debian 12 from bookworm-backports)";
const INSTALL_SWIFTSHADER = "run npm install --include=optional for SwiftShader, which is packaged for Linux x64";

function diagnosis(at: NodeEnvironment, tried: boolean): { readonly problem: string; readonly remedy: string } {
  const { prefer, userDrivers: drivers } = at;
  if (drivers !== undefined) {
    const not = prefer === undefined ? "gives no adapter" : `is not the ${prefer} adapter asked for`;
    return {
      problem: `VK_DRIVER_FILES names ${drivers}, which ${not}`,
      remedy: "Unset it to let other drivers in",
    };
  }
  switch (prefer) {
    case "gpu":
      return {
        problem: "a GPU was asked for, and Dawn accepts none here",
        remedy: "Install the vendor's driver, on Linux with its Vulkan part",
      };
    case "lavapipe":
      return {
        problem: `lavapipe was asked for, and ${tried ? "Dawn refuses it" : `its lvp_icd.json is not in ${ICD_FOLDERS.join(", ")}`}`,
        remedy: `Install ${MESA_PACKAGES}; lavapipe is for Linux`,
      };
    case "swiftshader":
      return {
        problem: `SwiftShader was asked for, and ${tried ? "it does not start" : "its package is not installed"}`,
        remedy: tried
          ? `Install ${MESA_PACKAGES} to compute on the CPU without it`
          : `To have it, ${INSTALL_SWIFTSHADER}`,
      };
    case "null":
    case undefined:
      return {
        problem: "WebGPU finds nothing to run on",
        remedy: `Install the GPU vendor's driver; or to compute on the CPU, install ${MESA_PACKAGES} or ${INSTALL_SWIFTSHADER}`,
      };
    default:
      return prefer satisfies never;
  }
}

/** Refusals in one line; drivers that were refused alike share their reason. */
function formatRefusals(refusals: readonly Refusal[]): string {
  const byReason = new Map<string, Set<string>>();
  for (const { drivers, message: said } of refusals) byReason.set(said, (byReason.get(said) ?? new Set()).add(drivers));
  return [...byReason].map(([said, drivers]) => `${[...drivers].join(", ")}: ${said}`).join("; ");
}

function describeDrivers(attempt: Attempt, at: NodeEnvironment): string {
  switch (attempt.drivers) {
    case "all":
      return "the system's drivers";
    case "lavapipe":
      return `lavapipe (${at.lavapipe ?? "not installed"})`;
    case "swiftshader":
      return "the packaged SwiftShader";
    case "user":
      return `VK_DRIVER_FILES (${at.userDrivers ?? "not set"})`;
    case "none":
      return "Dawn's null backend";
    default:
      return attempt.drivers satisfies never;
  }
}

const ICD_FOLDERS = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/** Lavapipe's driver file for this processor; distributions write lvp_icd.json or lvp_icd.x86_64.json. */
function findLavapipe(): string | undefined {
  if (process.platform !== "linux") return undefined;
  const names = ["lvp_icd.json", `lvp_icd.${process.arch === "x64" ? "x86_64" : "aarch64"}.json`];
  return ICD_FOLDERS.filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((file) => join(folder, file)))
    .find((path) => names.some((name) => path.endsWith(`/${name}`)));
}

const DRIVER_VARIABLES = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]; // the second one is what loaders before 1.3.207 read

function userDrivers(): string | undefined {
  if (process.platform !== "linux") return undefined;
  return DRIVER_VARIABLES.map((name) => process.env[name]).find((value) => value !== undefined && value !== "");
}

const DAWN_OPTIONS = [
  // subgroup matrices count as unsafe, and so does f16 on NVIDIA under Vulkan
  "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia",
  "disable-dawn-features=timestamp_quantization", // rounds to 65.5 us otherwise
];

/**
 * The GPU objects of the process that gave an adapter, by the drivers it sees. Kept for good: a device whose GPU object has been collected crashes
 * the process (webgpu 0.6.2), while one that is kept does not hold the process up.
 */
const opened = new Map<string, GPU>();

async function open(
  { drivers }: Attempt,
  { lavapipe }: NodeEnvironment,
  { archive, index }: { readonly archive: Archive | undefined; readonly index: number | undefined },
): Promise<Omit<AdapterChoice, "why"> & { readonly complaints: string }> {
  Object.assign(globalThis, globals); // GPUBufferUsage and its like, which a browser has already
  if (drivers !== "none") await provideLoader(archive);
  const driverFile =
    drivers === "lavapipe" ? lavapipe : drivers === "swiftshader" ? (await unpackSwiftShader(archive!)).icd : undefined;
  const environment = {
    XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? tmpdir(), // some drivers complain where it is not set
    ...(driverFile === undefined ? {} : Object.fromEntries(DRIVER_VARIABLES.map((name) => [name, driverFile]))),
  };
  const options = drivers === "none" ? [...DAWN_OPTIONS, "backend=null"] : DAWN_OPTIONS;
  const listing = () => listAdapters(options, environment);
  const one = index === undefined ? ANY_ADAPTER : await selectAdapter(index, await listing(), { options, environment });
  const key = `${driverFile ?? drivers} ${index ?? ""}`;
  const gpu = opened.get(key) ?? create([...options, ...one.options]);

  // Vulkan reads its variables, and Dawn writes its complaints, before requestAdapter returns its promise.
  const { result, stderr } = await captureStderr(() =>
    withEnvironment({ ...environment, ...one.environment }, () =>
      gpu.requestAdapter({ powerPreference: "high-performance" }),
    ),
  );
  const adapter = await result;
  const complaints = driverWarnings(stderr);
  if (!adapter) throw new Error(complaints === "" ? "no adapter" : complaints);
  opened.set(key, gpu);
  return { gpu, adapter, kind: adapterKind(adapter.info), name: adapterName(adapter.info), list: listing, complaints };
}

/** There is no adapter of the index that was asked for, or none that can be told from another. */
class NoSuchIndexError extends Error {}

type Variables = Readonly<Record<string, string>>;

/** Leaves it to Dawn which adapter it takes. */
const ANY_ADAPTER = { options: [], environment: {} };

/** The names of the adapters that Dawn finds with these options and variables. */
async function listAdapters(options: readonly string[], environment: Variables): Promise<readonly string[]> {
  const gpu = create([...options, `adapter=${UNKNOWN_ADAPTER}`]);
  const { result } = await captureStderr(() => withEnvironment(environment, () => gpu.requestAdapter()));
  return parseAdapters(await result.then(String, String));
}

/** What makes Dawn take adapter `index` of all. Throws where there is none, or where another has its name and drivers cannot tell. */
async function selectAdapter(
  index: number,
  all: readonly string[],
  { options, environment }: { readonly options: readonly string[]; readonly environment: Variables },
): Promise<{ readonly options: readonly string[]; readonly environment: Variables }> {
  const name = all[index];
  if (name === undefined) {
    const known = all.map((each, i) => `${i} ${each}`).join(", ");
    throw new NoSuchIndexError(`adapter ${index}: expected one of ${all.length === 0 ? "none" : known}`);
  }
  const chosen = { options: [`adapter=${name}`], environment: {} };
  const count = all.filter((other) => other === name).length;
  if (count === 1) return chosen;
  if (process.platform !== "linux" || !hasDeviceLayer()) {
    const way =
      process.platform === "linux" ? "; mesa-vulkan-drivers has the layer VK_LAYER_MESA_device_select, which does" : "";
    throw new NoSuchIndexError(
      `adapter ${index}: ${count} adapters are called ${name}, and nothing here tells them apart${way}`,
    );
  }
  const place = all.slice(0, index).filter((other) => other === name).length;
  try {
    const showing = isolatingVariables(name, { place, count }, listCards());
    const shown = await listAdapters(options, { ...environment, ...showing });
    if (shown.filter((other) => other === name).length === 1) return { ...chosen, environment: showing };
  } catch (error) {
    throw new NoSuchIndexError(`adapter ${index}: ${(error as Error).message}`, { cause: error });
  }
  throw new NoSuchIndexError(
    `adapter ${index}: ${count} adapters are called ${name}, and the driver shows no single one of them; install a newer mesa-vulkan-drivers, ` +
      "or show each process its own alone, as Slurm and Kubernetes do",
  );
}

/** Makes a Vulkan loader known to Dawn, which opens libvulkan.so.1 by that name: the system's, else the packaged one. */
async function provideLoader(archive: Archive | undefined): Promise<void> {
  if (process.platform !== "linux" || !archive) return;
  const { default: koffi } = await import("koffi");
  try {
    koffi.load("libvulkan.so.1");
  } catch {
    koffi.load((await unpackSwiftShader(archive)).loader);
  }
}

/** Runs a synchronous function with some environment variables set, then puts them back. */
function withEnvironment<T>(variables: Readonly<Record<string, string>>, fn: () => T): T {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    return fn();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  }
}

/** What a synchronous function's native code writes to stderr, the only place where Dawn says why it refuses a driver. */
async function captureStderr<T>(fn: () => T): Promise<{ readonly result: T; readonly stderr: string }> {
  if (process.platform !== "linux") return { result: fn(), stderr: "" };
  const { default: koffi } = await import("koffi");
  const libc = koffi.load(null);
  const dup = libc.func("int dup(int)") as (fd: number) => number;
  const dup2 = libc.func("int dup2(int, int)") as (from: number, to: number) => number;
  const memoryFile = libc.func("int memfd_create(const char *, unsigned int)") as (
    name: string,
    flags: number,
  ) => number;
  const file = memoryFile("stderr", 0);
  const savedStderr = dup(2);
  dup2(file, 2);
  try {
    const result = fn();
    const stderr = Buffer.alloc(fstatSync(file).size);
    readSync(file, stderr, 0, stderr.length, 0);
    return { result, stderr: stderr.toString() };
  } finally {
    dup2(savedStderr, 2);
    closeSync(savedStderr);
    closeSync(file);
  }
}

/** Warnings that say nothing about why a driver was refused. */
const IRRELEVANT_WARNINGS =
  /artificially reduced|VK_ERROR_INCOMPATIBLE_DRIVER|loader_icd_scan|^vkEnumeratePhysicalDevices$/;

/** The complaints worth telling, on one line. */
export function driverWarnings(stderr: string): string {
  const warnings = [...stderr.matchAll(/^(?:Warning|Error): (.*?)[.!]?$/gm)].map(([, warning]) => warning!);
  return [...new Set(warnings.filter((warning) => !IRRELEVANT_WARNINGS.test(warning)))].join(", ");
}
