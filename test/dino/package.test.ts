import { expect } from "chai";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { builtinModules, createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { documents, printedBy } from "../support/documents.js";
import { drawFolder, writeTinyCheckpoint } from "../support/command-line.js";

interface PackageFile {
  readonly license: string;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

interface Locked {
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
}

const root = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);
const read = (name: string) => readFile(join(root, name), "utf8");
const packageFile = async () => JSON.parse(await read("package.json")) as PackageFile;

/** What the lock file has for somebody who installs the package, by the folder of each. */
async function shipped(): Promise<readonly (readonly [folder: string, Locked])[]> {
  const { packages } = JSON.parse(await read("package-lock.json")) as { packages: Readonly<Record<string, Locked>> };
  return Object.entries(packages).filter(([folder, { dev }]) => folder !== "" && dev !== true);
}

describe("dependencies", () => {
  it("are pinned to a version each", async () => {
    const { dependencies, optionalDependencies, devDependencies } = await packageFile();
    const all = { ...dependencies, ...optionalDependencies, ...devDependencies };
    for (const [name, version] of Object.entries(all)) expect(version, name).to.match(/^\d+\.\d+\.\d+(-[\w.]+)?$/);
  });

  it("are installed without running anything, the two too that could build themselves", async () => {
    expect(await read(".npmrc")).to.include("ignore-scripts=true");
    const scripted = (await shipped()).flatMap(([folder, { hasInstallScript }]) => (hasInstallScript ? [folder] : []));
    expect(scripted).to.have.members(["node_modules/koffi", "node_modules/webgpu"]); // both have what they need in their tarballs
  });
});

describe("package @long", function () {
  this.timeout(300_000);

  /** A folder of somebody else's, with the package in node_modules and no more beside it than what it depends on. */
  let home: string;
  let files: readonly string[];
  const node = async (...words: readonly string[]) => (await run(process.execPath, words, { cwd: home })).stdout;
  const put = (name: string, text: string) => writeFile(join(home, name), text);

  before(async () => {
    home = await mkdtemp(join(tmpdir(), "package-"));
    await run("npm", ["run", "build"], { cwd: root });
    const { stdout } = await run("npm", ["pack", "--silent", "--pack-destination", home], { cwd: root });
    await run("tar", ["-xzf", stdout.trim()], { cwd: home });
    const modules = join(home, "node_modules");
    await mkdir(modules);
    await run("mv", ["package", join(modules, "dino-webgpu")], { cwd: home });
    for (const [folder] of await shipped()) {
      if (folder.lastIndexOf("node_modules/") > 0) continue; // within another one, which brings it
      await mkdir(dirname(join(home, folder)), { recursive: true });
      await symlink(join(root, folder), join(home, folder), "dir");
    }
    const found = await readdir(join(modules, "dino-webgpu"), { recursive: true, withFileTypes: true });
    files = found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    await put("package.json", JSON.stringify({ type: "module" }));
  });
  after(() => rm(home, { recursive: true }));

  it("holds what was compiled and the shaders, and neither tests nor benches nor sources", () => {
    const within = files.map((file) =>
      file.slice(join(home, "node_modules/dino-webgpu/").length).replaceAll("\\", "/"),
    );
    expect(within).to.include.members([
      "LICENSE",
      "README.md",
      "dist/engine/index.d.ts",
      "dist/shaders/softmax.wgsl",
      "dist/web/index.html",
      "dist/web/train.html",
      "dist/web/viewer.html",
      "dist/web/licenses.md",
    ]);
    const strange = within.filter(
      (name) =>
        !/^(LICENSE|README\.md|package\.json|dino\/dino\.js|dist\/((dino|engine)\/.*\.(js|d\.ts)|shaders\/.*\.wgsl|web\/.*\.(html|css|js)|web\/licenses\.md))$/.test(
          name,
        ),
    );
    expect(strange).to.deep.equal([]);
  });

  it("imports nothing but what it depends on, and depends on nothing else", async () => {
    const { dependencies, optionalDependencies } = await packageFile();
    const names = Object.keys({ ...dependencies, ...optionalDependencies });
    const texts = await Promise.all(files.filter((file) => file.endsWith(".js")).map((file) => readFile(file, "utf8")));
    const imported = texts.flatMap((text) =>
      [
        ...text.matchAll(/(?:^(?:import|export|}).* from |^import |\b(?:import|require|resolve)\()"([^".][^"]*)"/gm),
      ].map(([, name]) => name!),
    );
    const packages = imported.map((name) => name.split("/", name.startsWith("@") ? 2 : 1).join("/"));
    const strange = packages.filter((name) => !names.includes(name) && !name.startsWith("node:"));
    expect(new Set(strange)).to.deep.equal(new Set(["tsx", "vite"])); // by what runs the sources as they stand
    expect(builtinModules.filter((name) => packages.includes(name))).to.deep.equal([]);
    const unused = names.filter((name) => !texts.some((text) => new RegExp(`["\`]${name}["\`/]`).test(text)));
    expect(unused).to.deep.equal([]);
  });

  const compiler = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  const nodenext = ["--module", "nodenext", "--target", "es2023"];
  const bundler = ["--module", "esnext", "--moduleResolution", "bundler", "--target", "es2023"];
  const compile = async (...words: readonly string[]) => {
    const { stdout } = await run(process.execPath, [compiler, "--ignoreConfig", "--strict", ...words], {
      cwd: home,
    }).catch((error: unknown) => error as { stdout: string });
    expect(stdout).to.equal("");
  };

  it("has types that need none beside them, whatever finds them", async () => {
    await put(
      "typed.ts",
      `import { embed, type Image, loadModel, train } from "dino-webgpu";
       import { type Device, record, softmax, type Tensor } from "dino-webgpu/engine";
       import { openDevice } from "dino-webgpu/engine/node";
       export async function look(path: string, images: readonly Image[], device?: Device): Promise<Float32Array> {
         using model = await loadModel(path, { device: device ?? (await openDevice()), which: "student" });
         const { features: { values } } = await embed(model, images, { batch: 2 });
         return values;
       }
       export async function compute(device: Device, x: Tensor): Promise<Float32Array> {
         using program = await record(device, () => ({ y: softmax(x) }));
         // @ts-expect-error -- z is not among what was returned
         await program.read("z");
         return program.read("y");
       }
       // @ts-expect-error -- a batch is a number
       export const run = () => train({ data: "photos", batch: "32" });`,
    );
    await compile("--noEmit", "--lib", "es2023", ...nodenext, "typed.ts");
    await compile("--noEmit", ...bundler, "typed.ts"); // with a browser's types, WebGPU's among them
  });

  it("does what documents show, compiled as somebody else would", async () => {
    const blocks = documents().flatMap((document) => document.blocks.filter(({ language }) => language === "ts"));
    const names = blocks.map((_, i) => `shown-${i}`);
    for (const [i, { text }] of blocks.entries()) await put(`${names[i]!}.ts`, text);
    await compile(...nodenext, ...names.map((name) => `${name}.ts`));
    await mkdir(join(home, "runs/demo"), { recursive: true });
    await writeTinyCheckpoint(join(home, "runs/demo/checkpoint.safetensors"));
    await drawFolder(join(home, "photos"), 2);
    for (const [i, block] of blocks.entries()) {
      if (block.runs) expect((await node(`${names[i]!}.js`)).trim(), block.document).to.match(printedBy(block));
    }
  });

  it("has the shaders in what browsers import, whatever bundles it", async () => {
    await put(
      "browser.js",
      'import { shaderText } from "dino-webgpu/engine/browser"; console.log(shaderText("softmax"));',
    );
    expect(await node("browser.js")).to.equal(`${await read("shaders/softmax.wgsl")}\n`);
  });

  it("has the program dino, which needs no sources", async () => {
    const dino = join(home, "node_modules/dino-webgpu/dino/dino.js");
    expect(await node(dino, "--version")).to.match(/^\d+\.\d+\.\d+\n$/);
    const features = join(home, "features.npy");
    const checkpoint = join(home, "runs/demo/checkpoint.safetensors");
    const embedded = await node(dino, "embed", "--checkpoint", checkpoint, "--data", "photos", "--out", features);
    expect(embedded).to.include("[4, 16] float32");
  });

  it("comes under a licence that lies beside it", async () => {
    const { license } = await packageFile();
    expect(await read("LICENSE")).to.match(new RegExp(`^${license} License`));
  });
});
