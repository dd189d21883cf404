import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import {
  attempts,
  chooseAdapter,
  driverWarnings,
  hasBoundsChecks,
  noAdapter,
  preferenceOf,
  type Preference,
  reason,
  type NodeEnvironment,
} from "../../../engine/adapters/adapter.js";
import { openDevice, readShader } from "../../../engine/adapters/node.js";
import { type Archive, findArchive, unpackSwiftShader } from "../../../engine/adapters/swiftshader.js";
import { type Device, throwIfFailed } from "../../../engine/core/device.js";
import { compiledModule } from "../../support/compiled-program.js";

const bareLinux: NodeEnvironment = {
  platform: "linux",
  prefer: undefined,
  userDrivers: undefined,
  lavapipe: undefined,
  swiftShader: false,
};
const fullLinux: NodeEnvironment = { ...bareLinux, lavapipe: "/icd.d/lvp_icd.json", swiftShader: true };

/** The attempts in short: which drivers are tried for what. */
const order = (at: NodeEnvironment): readonly string[] =>
  attempts(at).map(({ drivers, accepts }) => `${drivers}: ${accepts.join(" ")}`);

const ANY = "gpu lavapipe swiftshader software";

describe("attempts", () => {
  it("looks for a GPU, then lavapipe, then SwiftShader, then anything", () => {
    expect(order(fullLinux)).to.deep.equal([
      "all: gpu lavapipe",
      "lavapipe: lavapipe",
      "swiftshader: swiftshader",
      `all: ${ANY}`,
    ]);
  });

  it("skips what is not installed", () => {
    expect(order(bareLinux)).to.deep.equal(["all: gpu lavapipe", `all: ${ANY}`]);
    expect(order({ ...fullLinux, lavapipe: undefined })).to.include("swiftshader: swiftshader");
    expect(order({ ...fullLinux, swiftShader: false })).to.include("lavapipe: lavapipe");
  });

  for (const platform of ["darwin", "win32"] as const) {
    it(`leaves the choice to Dawn on ${platform}`, () => {
      expect(order({ ...bareLinux, platform })).to.deep.equal([`all: ${ANY}`]);
    });
  }

  it("takes nothing but what was asked for", () => {
    const asked = (prefer: Preference) => order({ ...fullLinux, prefer });
    expect(asked("gpu")).to.deep.equal(["all: gpu"]);
    expect(asked("lavapipe")).to.deep.equal(["lavapipe: lavapipe"]);
    expect(asked("swiftshader")).to.deep.equal(["swiftshader: swiftshader"]);
    expect(asked("null")).to.deep.equal(["none: null"]);
    expect(order({ ...bareLinux, prefer: "lavapipe" })).to.deep.equal([]);
    expect(order({ ...bareLinux, prefer: "swiftshader" })).to.deep.equal([]);
  });

  it("leaves the user's own VK_DRIVER_FILES alone", () => {
    const userDrivers = "/opt/driver.json";
    expect(order({ ...fullLinux, userDrivers })).to.deep.equal([`user: ${ANY}`]);
    expect(order({ ...fullLinux, userDrivers, prefer: "swiftshader" })).to.deep.equal(["user: swiftshader"]);
    expect(order({ ...fullLinux, userDrivers, prefer: "null" })).to.deep.equal(["none: null"]);
  });
});

describe("the words about an adapter", () => {
  const refusals = [
    { drivers: "the system's drivers", message: "too old" },
    { drivers: "lavapipe (/icd.d/lvp_icd.json)", message: "too old" },
    { drivers: "the packaged SwiftShader", message: "cannot write /nowhere" },
  ];

  it("name what was tried, once each, and the way out", () => {
    expect(noAdapter(fullLinux, refusals)).to.equal(
      "adapter: WebGPU finds nothing to run on. Tried the system's drivers, lavapipe (/icd.d/lvp_icd.json): too old; " +
        "the packaged SwiftShader: cannot write /nowhere. Install the GPU vendor's driver; or to compute on the CPU, " +
        "install libvulkan1 and mesa-vulkan-drivers 25 or newer (for Debian 12 from bookworm-backports) " +
        "or run npm install --include=optional for SwiftShader, which is packaged for Linux x64",
    );
  });

  it("name what was asked for and is not there", () => {
    const asked = (prefer: Preference) => noAdapter({ ...bareLinux, prefer }, []);
    expect(asked("gpu")).to.match(/^adapter: a GPU was asked for.*Install the vendor's driver/);
    expect(asked("lavapipe")).to.match(
      /^adapter: lavapipe was asked for.*not in \/usr\/share\/vulkan\/icd\.d.*Install/,
    );
    expect(asked("swiftshader")).to.match(/^adapter: SwiftShader was asked for.*not installed.*npm install/);
    expect(noAdapter({ ...fullLinux, userDrivers: "/x.json", prefer: "gpu" }, [])).to.equal(
      "adapter: VK_DRIVER_FILES names /x.json, which is not the gpu adapter asked for. Unset it to let other drivers in",
    );
  });

  it("say why an adapter was taken and what better ones answered", () => {
    expect(reason("gpu", fullLinux, [])).to.equal("a GPU of this machine");
    expect(reason("swiftshader", fullLinux, refusals.slice(0, 1))).to.match(/\(the system's drivers: too old\)$/);
    expect(reason("swiftshader", { ...fullLinux, prefer: "swiftshader" }, [])).to.equal("swiftshader was asked for");
    expect(reason("lavapipe", { ...fullLinux, userDrivers: "/x.json" }, [])).to.equal("VK_DRIVER_FILES names /x.json");
  });

  it("leave out what Dawn says of every driver", () => {
    const stderr = [
      "Warning: maxDynamicUniformBuffersPerPipelineLayout artificially reduced from 1000000 to 16 to fit.",
      "Warning: Vulkan shaderUniform*ArrayDynamicIndexing required.",
      " - While initializing adapter (backend=BackendType::Vulkan)",
      "Warning: vkCreateInstance: Found no drivers!",
      "Warning: vkCreateInstance: Found no drivers!",
      "Warning: vkCreateInstance failed with VK_ERROR_INCOMPATIBLE_DRIVER",
    ];
    expect(driverWarnings(stderr.join("\n"))).to.equal(
      "Vulkan shaderUniform*ArrayDynamicIndexing required, vkCreateInstance: Found no drivers",
    );
    expect(driverWarnings("")).to.equal("");
  });

  it("refuse a DINO_BOUNDS_CHECKS that is neither on nor off", async () => {
    expect([undefined, "", "on", "off"].map(hasBoundsChecks)).to.deep.equal([true, true, true, false]);
    expect(() => hasBoundsChecks("no")).to.throw("DINO_BOUNDS_CHECKS=no: expected on or off");
    process.env.DINO_BOUNDS_CHECKS = "no";
    const refused = chooseAdapter().catch((error: unknown) => (error as Error).message);
    delete process.env.DINO_BOUNDS_CHECKS;
    expect(await refused).to.equal("DINO_BOUNDS_CHECKS=no: expected on or off"); // once, and not as the fault of an adapter
  });

  it("refuse a DINO_ADAPTER that names no kind", () => {
    expect(preferenceOf(undefined)).to.equal(undefined);
    expect(preferenceOf("")).to.equal(undefined);
    expect(preferenceOf("lavapipe")).to.equal("lavapipe");
    expect(() => preferenceOf("cuda")).to.throw("DINO_ADAPTER=cuda: expected one of gpu, lavapipe, swiftshader, null");
  });
});

describe("unpackSwiftShader", () => {
  let archive: Archive;
  let cache: string;

  before(async function () {
    const found = await findArchive();
    if (!found) this.skip(); // the optional dependency is for Linux x64
    archive = found;
  });
  beforeEach(async () => {
    cache = await mkdtemp(join(tmpdir(), "adapter-test-"));
  });
  afterEach(() => rm(cache, { recursive: true, force: true }));

  it("leaves the driver, its description and a loader, and nothing else", async () => {
    const { icd, loader } = await unpackSwiftShader(archive, cache);
    expect(await readdir(cache)).to.deep.equal([`swiftshader-${archive.version}`]);
    expect(dirname(icd)).to.equal(dirname(loader));
    expect(await readdir(dirname(icd))).to.have.members([
      "libvk_swiftshader.so",
      "libvulkan.so.1",
      "vk_swiftshader_icd.json",
    ]);
    expect((await stat(loader)).size).to.be.greaterThan(100_000);
  });

  it("unpacks once", async () => {
    const { icd } = await unpackSwiftShader(archive, cache);
    const first = await stat(icd);
    expect((await unpackSwiftShader(archive, cache)).icd).to.equal(icd);
    expect(await stat(icd)).to.include({ ino: first.ino, mtimeMs: first.mtimeMs });
  });

  it("lets several race", async () => {
    const all = await Promise.all([1, 2, 3, 4].map(() => unpackSwiftShader(archive, cache)));
    expect(new Set(all.map(({ icd }) => icd))).to.have.lengthOf(1);
    expect(await readdir(cache)).to.deep.equal([`swiftshader-${archive.version}`]);
    expect(await readdir(dirname(all[0]!.icd))).to.have.lengthOf(3);
  });

  it("says which folder it cannot write", async () => {
    const file = join(cache, "file");
    await writeFile(file, "");
    const error = await unpackSwiftShader(archive, join(file, "folder")).then(() => undefined, String);
    expect(error).to.match(/cannot write .*file\/folder; point XDG_CACHE_HOME at a folder that can be written/);
  });

  it("gives an adapter", async function () {
    if (process.env.VK_DRIVER_FILES) this.skip(); // the user's drivers go first
    expect(await chooseAdapter({ prefer: "swiftshader" })).to.include({
      kind: "swiftshader",
      why: "swiftshader was asked for",
    });
  });
});

describe("openDevice", () => {
  it("asks for all that the adapter has", async () => {
    const { adapter } = await chooseAdapter();
    using device = await openDevice();
    expect(device.limits.maxStorageBufferBindingSize).to.equal(adapter.limits.maxStorageBufferBindingSize);
    expect(device.limits.maxStorageBuffersPerShaderStage).to.equal(adapter.limits.maxStorageBuffersPerShaderStage);
    expect(device.features.has("shader-f16")).to.equal(adapter.features.has("shader-f16"));
  });

  it("opens the null backend, which knows tensor cores", async () => {
    using device = await openDevice({ prefer: "null" });
    expect(device.adapterKind).to.equal("null");
    expect(device.features).to.include("chromium-experimental-subgroup-matrix");
  });

  it("leaves the environment as it was", async () => {
    const before = { ...process.env };
    using device = await openDevice();
    throwIfFailed(device);
    expect(process.env).to.deep.equal(before);
  });

  it("lets a process end that forgot to dispose", async function () {
    this.timeout(60_000);
    const program = `
      const { openDevice } = await import(${JSON.stringify(compiledModule("engine/adapters/node.ts"))});
      globalThis.device = await openDevice();
      const { gpu } = device;
      void gpu.lost.then(() => undefined);
      gpu.queue.submit([gpu.createCommandEncoder().finish()]);
      void gpu.queue.onSubmittedWorkDone();
      console.log("opened");`;
    const node = ["--input-type=module", "--eval", program];
    const { stdout } = await promisify(execFile)(process.execPath, node, { timeout: 50_000 });
    expect(stdout).to.equal("opened\n");
  });
});

describe("a failing device", () => {
  const failed = (device: Device) => expect(() => throwIfFailed(device));
  const misuse = (device: Device, label: string) =>
    device.gpu.createBuffer({ label, size: 64, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
  const settle = (device: Device) => device.gpu.queue.onSubmittedWorkDone();

  it("is none as long as nothing fails", async () => {
    using device = await openDevice({ prefer: "null" });
    await settle(device);
    expect(device.failure()).to.equal(undefined);
    throwIfFailed(device);
  });

  it("throws what WebGPU found wrong, and the first such thing", async () => {
    using device = await openDevice();
    misuse(device, "first");
    misuse(device, "second");
    await settle(device);
    failed(device).to.throw(device.name).with.property("cause", device.failure());
    failed(device).to.throw(/usages.*MapRead[^]*"first"/);
  });

  it("throws when the device was lost", async () => {
    using device = await openDevice();
    device.gpu.destroy();
    await device.gpu.lost;
    failed(device).to.throw(/the device was lost \(destroyed\)/);
  });

  it("throws after it was disposed", async () => {
    const device = await openDevice();
    device[Symbol.dispose]();
    failed(device).to.throw(/the device was disposed/);
    device[Symbol.dispose](); // twice does no harm
    await device.gpu.lost;
    failed(device).to.throw(/the device was disposed/);
  });

  it("throws what was reported to it", async () => {
    using device = await openDevice({ prefer: "null" });
    device.fail(new Error("out of memory: weights"));
    device.fail(new Error("later"));
    failed(device).to.throw("out of memory: weights");
  });
});

describe("readShader", () => {
  it("reads a shader by its name", () => {
    expect(readShader("softmax")).to.match(/@compute/);
  });

  it("names those there are when it is asked for another", () => {
    expect(() => readShader("sofmax")).to.throw(/^shaders\/sofmax\.wgsl does not exist; there are .*softmax/);
  });
});
