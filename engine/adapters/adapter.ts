import { closeSync, existsSync, fstatSync, readdirSync, readSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, globals } from "webgpu";
import { type AdapterKind, adapterKind, adapterName } from "../core/device.js";
import { parseAdapters, hasDeviceLayer, listCards, UNKNOWN_ADAPTER, isolatingVariables } from "./adapter-list.js";
import { type Archive, findArchive, unpackSwiftShader } from "./swiftshader.js";

/** Adapter kinds that can be requested, in a call or through `DINO_ADAPTER`. */
export type Preference = (typeof PREFERENCES)[number];
const PREFERENCES = ["gpu", "lavapipe", "swiftshader", "null"] as const;

/** A chosen adapter, and the reason for the choice. */
export interface AdapterChoice {
  readonly gpu: GPU;
  readonly adapter: GPUAdapter;
  readonly kind: AdapterKind;
  /** Name that the driver reports. */
  readonly name: string;
  /** One sentence: why this adapter was chosen and no better one. */
  readonly why: string;
  /** Lists the names of all adapters of the same drivers; `index` counts them from 0. */
  readonly list: () => Promise<readonly string[]>;
}

/** Options of `chooseAdapter`. */
export interface AdapterOptions {
  /** Requested kind; by default the value of `DINO_ADAPTER`, else the best available. */
  readonly prefer?: Preference;
  /** Index among the adapters of the same drivers, from 0; by default the fastest. */
  readonly index?: number | undefined;
}

/** Facts that the choice depends on, collected beforehand so that the decision can be tested without drivers. */
export interface NodeEnvironment {
  /** Value of `process.platform`, such as "linux". */
  readonly platform: string;
  readonly prefer: Preference | undefined;
  /** The user's own `VK_DRIVER_FILES` (or `VK_ICD_FILENAMES`, its name before Vulkan 1.3.207). */
  readonly userDrivers: string | undefined;
  /** Lavapipe's driver file, if Mesa is installed. */
  readonly lavapipe: string | undefined;
  /** Whether a packaged SwiftShader fits this machine. */
  readonly swiftShader: boolean;
}

/** One attempt to get an adapter: the drivers visible to Vulkan, and the adapter kinds to accept. */
export interface Attempt {
  readonly drivers: "all" | "lavapipe" | "swiftshader" | "user" | "none";
  readonly accepts: readonly AdapterKind[];
}

const ANY: readonly AdapterKind[] = ["gpu", "lavapipe", "swiftshader", "software"];

/** Returns the attempts, best first; empty if the requested kind is not available. */
export function attempts(environment: NodeEnvironment): readonly Attempt[] {
  const { platform, prefer, userDrivers: drivers, lavapipe, swiftShader } = environment;
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
 * Returns the best adapter of this machine: a GPU, else Mesa's lavapipe, else SwiftShader from an optional dependency
 * (Linux x64; needs neither root nor a system Vulkan). `prefer`, or else the variable `DINO_ADAPTER`, requests one kind;
 * a `VK_DRIVER_FILES` set by the user is respected. Throws an error that lists what was tried and what to install.
 */
export async function chooseAdapter(options: AdapterOptions = {}): Promise<AdapterChoice> {
  const prefer = options.prefer ?? preferenceOf(process.env.DINO_ADAPTER);
  const dawn = dawnOptions();
  const archive = await findArchive();
  const environment: NodeEnvironment = {
    platform: process.platform,
    prefer,
    userDrivers: userDrivers(),
    lavapipe: findDriverFile("lvp"),
    swiftShader: archive !== undefined,
  };
  const refusals: Refusal[] = [];
  for (const attempt of attempts(environment)) {
    const drivers = describeDrivers(attempt, environment);
    const addRefusal = (...parts: readonly string[]) => {
      const message = parts.filter((part) => part !== "").join(", ");
      const alreadyRefused = refusals.some((refusal) => refusal.drivers === drivers); // a second request to a driver reports less
      if (message !== "" && !alreadyRefused) refusals.push({ drivers, message });
    };
    try {
      const { warnings, ...choice } = await open(attempt, environment, { archive, index: options.index, dawn });
      const accepted = attempt.accepts.includes(choice.kind);
      addRefusal(warnings, accepted ? "" : `only ${choice.name}`);
      if (accepted) return { ...choice, why: reason(choice.kind, environment, refusals) };
    } catch (error) {
      if (error instanceof NoSuchIndexError) throw error;
      addRefusal(error instanceof Error ? error.message : String(error));
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

/** The message of drivers, or of Dawn on their behalf, that did not give the requested adapter. */
export interface Refusal {
  readonly drivers: string;
  readonly message: string;
}

/** Explains why this kind was chosen; quotes the refusals of better ones. */
export function reason(kind: AdapterKind, environment: NodeEnvironment, refusals: readonly Refusal[]): string {
  if (environment.userDrivers !== undefined && kind !== "null")
    return `VK_DRIVER_FILES names ${environment.userDrivers}`;
  if (environment.prefer !== undefined) return `${environment.prefer} was asked for`;
  const details = refusals.length === 0 ? "" : ` (${formatRefusals(refusals)})`;
  switch (kind) {
    case "gpu":
      return "a GPU of this machine";
    case "lavapipe":
      return `no GPU that Dawn accepts, and Mesa's lavapipe is installed${details}`;
    case "swiftshader":
      return `neither a GPU nor a lavapipe that Dawn accepts, and SwiftShader needs no installing${details}`;
    case "software":
      return `no GPU that Dawn accepts, and the system has a driver for the CPU${details}`;
    case "null":
      return "it computes nothing";
    default:
      return kind satisfies never;
  }
}

/** Formats the error for a machine without the requested adapter. */
export function noAdapter(environment: NodeEnvironment, refusals: readonly Refusal[]): string {
  const { problem, remedy } = diagnosis(environment, refusals.length > 0);
  return `adapter: ${problem}${refusals.length === 0 ? "" : `. Tried ${formatRefusals(refusals)}`}. ${remedy}`;
}

const MESA_PACKAGES = "libvulkan1 and mesa-vulkan-drivers 25 or newer (for Debian 12 from bookworm-backports)";
const INSTALL_SWIFTSHADER = "run npm install --include=optional for SwiftShader, which is packaged for Linux x64";

function diagnosis(
  environment: NodeEnvironment,
  tried: boolean,
): { readonly problem: string; readonly remedy: string } {
  const { prefer, userDrivers: drivers } = environment;
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

/** Formats refusals on one line; drivers with the same message share it. */
function formatRefusals(refusals: readonly Refusal[]): string {
  const byReason = new Map<string, Set<string>>();
  for (const { drivers, message: said } of refusals) byReason.set(said, (byReason.get(said) ?? new Set()).add(drivers));
  return [...byReason].map(([said, drivers]) => `${[...drivers].join(", ")}: ${said}`).join("; ");
}

function describeDrivers(attempt: Attempt, environment: NodeEnvironment): string {
  switch (attempt.drivers) {
    case "all":
      return "the system's drivers";
    case "lavapipe":
      return `lavapipe (${environment.lavapipe ?? "not installed"})`;
    case "swiftshader":
      return "the packaged SwiftShader";
    case "user":
      return `VK_DRIVER_FILES (${environment.userDrivers ?? "not set"})`;
    case "none":
      return "Dawn's null backend";
    default:
      return attempt.drivers satisfies never;
  }
}

const ICD_FOLDERS = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/**
 * Finds the file of a driver of Mesa for this processor, such as "lvp" for lavapipe; distributions name it lvp_icd.json or
 * lvp_icd.x86_64.json.
 */
export function findDriverFile(driver: "lvp" | "radeon"): string | undefined {
  if (process.platform !== "linux") return undefined;
  const names = [`${driver}_icd.json`, `${driver}_icd.${process.arch === "x64" ? "x86_64" : "aarch64"}.json`];
  return ICD_FOLDERS.filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((file) => join(folder, file)))
    .find((path) => names.some((name) => path.endsWith(`/${name}`)));
}

const DRIVER_VARIABLES = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]; // loaders before 1.3.207 read the second one

function userDrivers(): string | undefined {
  if (process.platform !== "linux") return undefined;
  return DRIVER_VARIABLES.map((name) => process.env[name]).find((value) => value !== undefined && value !== "");
}

/** Returns options of Dawn. Throws for a `DINO_BOUNDS_CHECKS` that is neither on nor off. */
function dawnOptions(): readonly string[] {
  const features = [
    "allow_unsafe_apis", // subgroup matrices count as unsafe
    "vulkan_enable_f16_on_nvidia", // and so does f16 there
    ...(hasBoundsChecks(process.env.DINO_BOUNDS_CHECKS) ? [] : ["disable_robustness"]),
  ];
  return [
    `enable-dawn-features=${features.join(",")}`,
    "disable-dawn-features=timestamp_quantization", // rounds to 65.5 us otherwise
  ];
}

/** Parses `DINO_BOUNDS_CHECKS`. */
export function hasBoundsChecks(variable: string | undefined): boolean {
  if (variable === "off") return false;
  if (variable === undefined || variable === "" || variable === "on") return true;
  throw new Error(`DINO_BOUNDS_CHECKS=${variable}: expected on or off`);
}

/**
 * GPU objects that gave an adapter, by visible drivers. They are never released: garbage collection of the GPU object of a
 * device crashes the process (webgpu 0.6.2). They do not keep the process alive.
 */
const opened = new Map<string, GPU>();

async function open(
  { drivers }: Attempt,
  { lavapipe }: NodeEnvironment,
  {
    archive,
    index,
    dawn,
  }: {
    readonly archive: Archive | undefined;
    readonly index: number | undefined;
    /** Options of Dawn. */
    readonly dawn: readonly string[];
  },
): Promise<Omit<AdapterChoice, "why"> & { readonly warnings: string }> {
  Object.assign(globalThis, globals); // GPUBufferUsage and other globals of browsers
  if (drivers !== "none") await provideLoader(archive);
  const driverFile =
    drivers === "lavapipe" ? lavapipe : drivers === "swiftshader" ? (await unpackSwiftShader(archive!)).icd : undefined;
  const environment = {
    XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? tmpdir(), // some drivers warn if it is not set
    ...(driverFile === undefined ? {} : Object.fromEntries(DRIVER_VARIABLES.map((name) => [name, driverFile]))),
  };
  const options = drivers === "none" ? [...dawn, "backend=null"] : dawn;
  const list = () => listAdapters(options, environment);
  const selection =
    index === undefined ? ANY_ADAPTER : await selectAdapter(index, await list(), { options, environment });
  const key = `${driverFile ?? drivers} ${index ?? ""}`;
  const gpu = opened.get(key) ?? create([...options, ...selection.options]);

  // Vulkan reads its variables, and Dawn writes its warnings, before requestAdapter returns its promise.
  const { result, stderr } = await captureStderr(() =>
    withEnvironment({ ...environment, ...selection.environment }, () =>
      gpu.requestAdapter({ powerPreference: "high-performance" }),
    ),
  );
  const adapter = await result;
  const warnings = driverWarnings(stderr);
  if (!adapter) throw new Error(warnings === "" ? "no adapter" : warnings);
  opened.set(key, gpu);
  return { gpu, adapter, kind: adapterKind(adapter.info), name: adapterName(adapter.info), list, warnings };
}

/** Thrown if no adapter has the requested index, or if it cannot be distinguished from another one. */
class NoSuchIndexError extends Error {}

type Variables = Readonly<Record<string, string>>;

/** Lets Dawn choose the adapter. */
const ANY_ADAPTER = { options: [], environment: {} };

/** Lists the names of the adapters that Dawn finds with these options and variables. */
async function listAdapters(options: readonly string[], environment: Variables): Promise<readonly string[]> {
  const gpu = create([...options, `adapter=${UNKNOWN_ADAPTER}`]);
  const { result } = await captureStderr(() => withEnvironment(environment, () => gpu.requestAdapter()));
  return parseAdapters(await result.then(String, String));
}

/** Returns options and variables that select adapter `index`. Throws if there is none, or if it cannot be distinguished from others of its name. */
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
  const position = all.slice(0, index).filter((other) => other === name).length;
  try {
    const variables = isolatingVariables(name, { position, count }, listCards());
    const visible = await listAdapters(options, { ...environment, ...variables });
    if (visible.filter((other) => other === name).length === 1) return { ...chosen, environment: variables };
  } catch (error) {
    throw new NoSuchIndexError(`adapter ${index}: ${(error as Error).message}`, { cause: error });
  }
  throw new NoSuchIndexError(
    `adapter ${index}: ${count} adapters are called ${name}, and the driver shows no single one of them; install a newer mesa-vulkan-drivers, ` +
      "or show each process its own alone, as Slurm and Kubernetes do",
  );
}

/** Loads a Vulkan loader for Dawn, which opens libvulkan.so.1 by name: the system's, else the packaged one. */
async function provideLoader(archive: Archive | undefined): Promise<void> {
  if (process.platform !== "linux" || !archive) return;
  const { default: koffi } = await import("koffi");
  try {
    koffi.load("libvulkan.so.1");
  } catch {
    koffi.load((await unpackSwiftShader(archive)).loader);
  }
}

/** Runs a synchronous function with environment variables set, then restores them. */
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

/** Runs a synchronous function and captures what native code writes to stderr, the only place where Dawn explains why it refuses a driver. */
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

/** Warnings unrelated to why a driver was refused. */
const IRRELEVANT_WARNINGS =
  /artificially reduced|VK_ERROR_INCOMPATIBLE_DRIVER|loader_icd_scan|^vkEnumeratePhysicalDevices$/;

/** Returns the relevant warnings, on one line. */
export function driverWarnings(stderr: string): string {
  const warnings = [...stderr.matchAll(/^(?:Warning|Error): (.*?)[.!]?$/gm)].map(([, warning]) => warning!);
  return [...new Set(warnings.filter((warning) => !IRRELEVANT_WARNINGS.test(warning)))].join(", ");
}
