import { expect } from "chai";
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { compile } from "./compiled-program.js";

describe("the compiled program", () => {
  let checkout: string;
  let cache: string;
  const put = (file: string, text: string) => writeFile(join(checkout, file), text);
  const run = async (folder: string) => {
    const { stdout } = await promisify(execFile)(process.execPath, [join(folder, "dino/dino.js"), "a", "b"]);
    return stdout;
  };

  beforeEach(async () => {
    checkout = await mkdtemp(join(tmpdir(), "dino-checkout-"));
    cache = join(checkout, "cache");
    for (const folder of ["dino", "engine", "shaders"]) await mkdir(join(checkout, folder));
    await copyFile(fileURLToPath(new URL("../../dino/dino.js", import.meta.url)), join(checkout, "dino/dino.js"));
    await put("package.json", '{ "type": "module" }');
    await put("tsconfig.json", "{}");
    await put("engine/words.ts", "export const words = (all: readonly string[]): string => all.join(' ');");
    await put("shaders/a.wgsl", "// a");
    await put(
      "dino/cli.ts",
      'import { words } from "../engine/words.js"; export const main = (all: string[]) => console.log(words(all));',
    );
  });
  afterEach(() => rm(checkout, { recursive: true }));

  it("runs what the sources say now, and is compiled once for the same sources", async () => {
    const first = compile(checkout, cache);
    expect(await run(first)).to.equal("a b\n");
    expect(compile(checkout, cache)).to.equal(first);
    await put("engine/words.ts", "export const words = (all: readonly string[]): string => all.join('-');");
    const second = compile(checkout, cache);
    expect(await run(second)).to.equal("a-b\n");
    await put("shaders/a.wgsl", "// b");
    expect([first, second]).not.to.include(compile(checkout, cache));
    expect(await readdir(cache)).to.have.length(3);
  });

  it("leaves nothing behind where a source does not compile, and says where", async () => {
    await put("engine/words.ts", "export const = 1;");
    expect(() => compile(checkout, cache)).to.throw(/engine\/words\.ts:1:13/);
    expect(await readdir(cache)).to.deep.equal([]);
  });
});
