import { chmod, mkdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { openImages } from "../../../../dino/images/sources/folder-images.js";
import { LISTS_VARIABLE } from "../../../../dino/images/sources/list-cache.js";
import { nameAt, packNames, sortedNames } from "../../../../dino/images/sources/names.js";
import { openData } from "../../../../dino/images/sources/open.js";
import { rejection } from "../../../support/rejection.js";
import { inFolder, pngs } from "./written-images.js";

/** Runs as a user who may read what others may; needs root. */
async function asNobody(run: () => Promise<void>): Promise<void> {
  process.seteuid!(65534);
  try {
    await run();
  } finally {
    process.seteuid!(0);
  }
}

describe("packed names", () => {
  it("come back as they were, and are sorted as their bytes are", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "grapheme" })), (names) => {
        const packed = packNames(names);
        expect(names.map((_, i) => nameAt(packed, i))).to.deep.equal(names);
        const sorted = Array.from(sortedNames(packed), (i) => names[i]!);
        expect(sorted).to.deep.equal([...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
      }),
      { seed: 1 },
    );
  });
});

describe("lists of folders", () => {
  it("pass over thumbnails of network drives, and count what they leave out", async function () {
    if (process.platform !== "linux") this.skip(); // other systems refuse such names
    await inFolder(async (folder) => {
      const put = async (path: string | Buffer) => writeFile(path, "");
      for (const name of ["a", "@eaDir", "__MACOSX"]) await mkdir(join(folder, name));
      await mkdir(Buffer.concat([Buffer.from(`${folder}/caf`), Buffer.of(0xe9)]));
      for (const name of ["a/1.jpg", "a/1.txt", "a/2.TXT", "a/x.heic", "@eaDir/1.jpg", "__MACOSX/1.jpg"])
        await put(join(folder, name));
      await put(Buffer.concat([Buffer.from(`${folder}/a/`), Buffer.of(0xe9), Buffer.from(".jpg")]));
      const reported: unknown[] = [];
      const images = await openImages(folder, { onLeftOut: (_, leftOut) => reported.push(...leftOut) });
      expect([images.count, images.name(0)]).to.deep.equal([1, "a/1.jpg"]);
      expect(reported).to.deep.equal([
        { kind: ".txt", count: 2 },
        { kind: "names that are not UTF-8", count: 2 },
        { kind: ".heic", count: 1 },
      ]);
    });
  });

  it("pass over folders that may not be read", async function () {
    if (process.getuid?.() !== 0) this.skip(); // needs another user to lose the right
    await inFolder(async (folder) => {
      await mkdir(join(folder, "lost"), { mode: 0o700 });
      await writeFile(join(folder, "1.jpg"), "");
      await chmod(folder, 0o755);
      const reported: unknown[] = [];
      await asNobody(async () => {
        const images = await openImages(folder, { onLeftOut: (_, leftOut) => reported.push(...leftOut) });
        expect(images.count).to.equal(1);
      });
      expect(reported).to.deep.equal([{ kind: "folders without permission", count: 1 }]);
    });
  });
});

describe("what may not be read", () => {
  it("is named, as a file, a folder, a pattern, and among others", async function () {
    if (process.getuid?.() !== 0) this.skip(); // needs another user to lose the right
    await inFolder(async (folder) => {
      const locked = join(folder, "locked");
      await mkdir(locked, { mode: 0o700 });
      for (const name of ["a.jpg", "b.tar", "bare"]) await writeFile(join(folder, name), "", { mode: 0o600 });
      await writeFile(join(folder, "c.png"), (await pngs(1))[0]!);
      await chmod(folder, 0o755);
      const reported: unknown[] = [];
      await asNobody(async () => {
        for (const name of ["a.jpg", "bare", "locked", "locked/x.jpg", "locked/*.jpg"])
          expect(await rejection(openData(join(folder, name)).then((set) => set.decode(0))), name).to.match(
            /(a\.jpg|bare|locked|x\.jpg|\*\.jpg): permission denied$/,
          );
        expect(await rejection(openData(join(folder, "b.tar")))).to.equal(`${folder}/b.tar: permission denied`);
      });
      await rm(join(folder, "b.tar"));
      await asNobody(async () => {
        const set = await openData(folder, { onLeftOut: (_, leftOut) => reported.push(...leftOut) });
        expect(await set.decode(0)).to.deep.equal({ path: "a.jpg", reason: "permission denied" });
      });
      expect(reported).to.deep.equal([
        { kind: "files (permission denied)", count: 1 },
        { kind: "folders without permission", count: 1 },
      ]);
    });
  });
});

describe("lists of large folders", () => {
  const count = 10_500;
  const variables = ["XDG_CACHE_HOME", LISTS_VARIABLE] as const;
  const before = variables.map((name) => process.env[name]);
  afterEach(() => {
    for (const [i, name] of variables.entries()) {
      if (before[i] === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = before[i];
    }
  });

  it("are kept until a folder changes, or until a new one is asked for", () =>
    inFolder(async (folder) => {
      process.env["XDG_CACHE_HOME"] = join(folder, "cache");
      const photos = join(folder, "photos");
      const [a, b] = [join(photos, "a"), join(photos, "a", "b")];
      await mkdir(b, { recursive: true });
      for (let i = 0; i < count; i += 500)
        await Promise.all(Array.from({ length: 500 }, (_, j) => writeFile(join(i % 1000 ? a : b, `${i + j}.jpg`), "")));
      const old = new Date(2020, 1, 1);
      const settle = () => Promise.all([photos, a, b].map((path) => utimes(path, old, old)));
      const open = async () => (await openImages(photos)).count;

      expect(await open()).to.equal(count); // too young to be kept
      await rm(join(b, "0.jpg"));
      await settle();
      expect(await open()).to.equal(count - 1);
      await rm(join(b, "1.jpg"));
      await settle(); // as if nothing had happened
      expect(await open()).to.equal(count - 1);
      process.env[LISTS_VARIABLE] = "new";
      expect(await open()).to.equal(count - 2);
      Reflect.deleteProperty(process.env, LISTS_VARIABLE);
      await writeFile(join(b, "0.jpg"), "");
      expect((await stat(b)).mtimeMs).to.not.equal(old.getTime());
      expect(await open()).to.equal(count - 1);
    }));

  it("are made without a cache that cannot be written", () =>
    inFolder(async (folder) => {
      await writeFile(join(folder, "file"), "");
      process.env["XDG_CACHE_HOME"] = join(folder, "file");
      const photos = join(folder, "photos");
      await mkdir(photos);
      for (let i = 0; i < count; i += 500)
        await Promise.all(Array.from({ length: 500 }, (_, j) => writeFile(join(photos, `${i + j}.jpg`), "")));
      await utimes(photos, 0, 0);
      expect((await openImages(photos)).count).to.equal(count);
    }));
});
