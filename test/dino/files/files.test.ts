import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { makeFolder, writeFileAtomically } from "../../../dino/files/files.js";
import { compiledModule } from "../../support/compiled-program.js";
import { rejection } from "../../support/rejection.js";

/** Far above any process number in use. */
const deadPid = 2 ** 30;

describe("writeFileAtomically", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "dino-checkpoint-"));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it("writes a new file and replaces an old one, leaving nothing else", async () => {
    const path = join(folder, "a.safetensors");
    await writeFileAtomically(path, Uint8Array.of(1, 2, 3));
    await writeFileAtomically(path, Uint8Array.of(4));
    expect([...(await readFile(path))]).to.deep.equal([4]);
    expect(await readdir(folder)).to.deep.equal(["a.safetensors"]);
  });

  it("ends with one whole file when written several times at once", async () => {
    const path = join(folder, "a");
    await Promise.all([1, 2, 3, 4].map((n) => writeFileAtomically(path, new Uint8Array(100_000).fill(n))));
    const bytes = await readFile(path);
    expect(bytes.length).to.equal(100_000);
    expect(bytes.every((byte) => byte === bytes[0])).to.equal(true);
    expect(await readdir(folder)).to.deep.equal(["a"]);
  });

  it("removes what dead writers of this path left, and nothing else", async () => {
    const leave = async (name: string, ageSeconds: number): Promise<string> => {
      const path = join(folder, name);
      await writeFile(path, "half");
      const then = Date.now() / 1000 - ageSeconds;
      await utimes(path, then, then);
      return name;
    };
    await leave(`.a.${deadPid}-0123abcd.tmp`, 0);
    await leave(`.a.${process.pid}-0123abcd.tmp`, 7 * 86400); // of an earlier process with this one's number
    await leave(`.a.${process.ppid}-0123abcd.tmp`, 7200); // its writer's number lives, but no write takes hours
    const kept = [
      await leave(`.a.${process.pid}-4567abcd.tmp`, 0),
      await leave(`.a.${process.ppid}-4567abcd.tmp`, 0),
      await leave(`.b.${deadPid}-0123abcd.tmp`, 0),
      await leave(".a.notes.tmp", 7200),
    ];
    await writeFileAtomically(join(folder, "a"), Uint8Array.of(1));
    expect((await readdir(folder)).sort()).to.deep.equal([...kept, "a"].sort());
  });

  it("leaves the old file and no temporary one when it fails", async () => {
    await mkdir(join(folder, "a"));
    const failed = await writeFileAtomically(join(folder, "a"), Uint8Array.of(1)).then(() => "written", String);
    expect(failed).to.match(/EISDIR|ENOTEMPTY|EEXIST|EPERM/);
    expect(await readdir(folder)).to.deep.equal(["a"]);
    const missing = await writeFileAtomically(join(folder, "b", "a"), Uint8Array.of(1)).then(() => "written", String);
    expect(missing).to.contain("ENOENT");
  });

  it("leaves a whole file when killed at any moment, and the next write cleans up", async () => {
    const path = join(folder, "a");
    const module = compiledModule("dino/files/files.ts");
    const program = `
      const { writeFileAtomically } = await import(${JSON.stringify(module)});
      for (let n = 0; ; n = (n + 1) % 200) {
        await writeFileAtomically(${JSON.stringify(path)}, new Uint8Array(4_000_000).fill(n));
        if (n === 1) console.log("writing");
      }`;
    for (const afterMs of [3, 11]) {
      const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      await once(child.stdout, "data");
      await new Promise((resolve) => setTimeout(resolve, afterMs));
      child.kill("SIGKILL");
      await once(child, "close");
      const bytes = await readFile(path);
      expect(bytes.length).to.equal(4_000_000);
      expect(bytes.every((byte) => byte === bytes[0])).to.equal(true);
      await writeFileAtomically(path, Uint8Array.of(1));
      expect(await readdir(folder)).to.deep.equal(["a"]);
    }
  }).timeout(60_000);
});

describe("makeFolder", () => {
  it("creates what is missing, and says which folders that were", async () => {
    const folder = await mkdtemp(join(tmpdir(), "dino-folders-"));
    const path = join(folder, "a", "b");
    expect(await makeFolder(path)).to.deep.equal([join(folder, "a"), path]);
    expect(await makeFolder(path)).to.deep.equal([]);
    await writeFile(join(path, "file"), "");
    expect(await rejection(makeFolder(join(path, "file")))).to.include("EEXIST");
    expect(await rejection(makeFolder(join(path, "file", "c")))).to.include("ENOTDIR");
    await rm(folder, { recursive: true });
  });

  it("ends where no folder can be created", async function () {
    if (process.platform !== "linux") this.skip(); // for want of such a file system
    expect(await rejection(makeFolder("/proc/nowhere/run"))).to.include("ENOENT");
  });
});
