import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import type { Suggestions } from "../../../dino/explorer/api.js";
import { parseNpy } from "../../../dino/files/npy.js";
import { dino, dinoFromSources, drawFolder, writeTinyCheckpoint } from "../../support/command-line.js";
import { sourceLauncher } from "../../support/compiled-program.js";
import { families, writeModelOf } from "../../support/families.js";
import { temporaryFolders } from "../../support/temporary-folders.js";

describe("dino explore", () => {
  const folder = temporaryFolders("dino-explore");
  let checkpoint: string;
  before(async () => {
    checkpoint = join(await folder(), "checkpoint.safetensors");
    await writeTinyCheckpoint(checkpoint);
  });

  /** Starts the command and waits for its address. */
  async function start(photos: string, out: string, ...more: readonly string[]) {
    const words = ["explore", photos, "--checkpoint", checkpoint, "--out", out, "--port", "0", "--no-open", ...more];
    const child = spawn(process.execPath, [sourceLauncher, ...words], { stdio: ["ignore", "pipe", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    const address = await new Promise<string>((resolve, reject) => {
      child.stdout.on("data", (chunk: Buffer) => resolve(chunk.toString().trim()));
      child.once("close", () => reject(new Error(stderr)));
    });
    return { child, address, read: (name: string) => fetch(`${address}api/explore/${name}`) };
  }

  async function stop(child: ChildProcess): Promise<void> {
    child.kill("SIGINT");
    await once(child, "close");
  }

  for (const family of families) {
    it(`maps, searches and labels images by a network of ${family}`, async () => {
      const [photos, inside] = [await folder(), await folder()];
      const [out, model] = [join(inside, "out"), join(inside, "model.safetensors")];
      await drawFolder(photos, 5);
      await writeModelOf(family, model);
      const { child, address, read } = await start(photos, out, "--checkpoint", model);
      try {
        expect(await (await read("map.json")).json()).to.include({ rows: 10, isLive: true });
        expect(await (await read("names.json")).json()).to.include("blue/3.png");
        expect(parseNpy(new Uint8Array(await (await read("places.npy")).arrayBuffer())).shape).to.deep.equal([10, 2]);
        const [column] = (await (await read("columns.json")).json()) as { readonly names: string[] }[];
        expect(column!.names).to.deep.equal(["blue", "red"]);
        expect((await (await read("columns.json")).text()).includes("distance from neighbours")).to.equal(true);
        expect((await sharp(await (await read("pictures/0.webp")).arrayBuffer()).metadata()).format).to.equal("webp");
        expect((await read("groups/0.bin")).status).to.equal(200);
        expect((await read("groups/1.bin")).status).to.equal(404);

        const origin = address.slice(0, -1);
        const post = (name: string, body: string | Uint8Array<ArrayBuffer>, from = origin) =>
          fetch(`${address}api/explore/${name}`, { method: "POST", body, headers: { origin: from } });
        const image = await readFile(join(photos, "red", "0.png"));
        const [first] = (await (await post("search", image)).json()) as { row: number; similarity: number }[];
        expect(first!.similarity).to.be.closeTo(1, 1e-3);
        expect((await post("search", "no image")).status).to.equal(400);
        const given = '[{"row":3,"label":" cat "}]';
        expect(await (await post("labels", given)).json()).to.deep.equal([{ row: 3, label: "cat" }]);
        expect((await post("labels", given, "http://evil.example")).status).to.equal(403);
        for (const wrong of [
          "[",
          "{}",
          '[{"row":10,"label":"x"}]',
          '[{"row":1,"label":""}]',
          '[{"row":-1,"label":"x"}]',
        ])
          expect((await post("labels", wrong)).status, wrong).to.equal(400);
        expect((await post("labels", Buffer.alloc((64 << 20) + 1))).status).to.equal(413);
        expect(await (await read("labels.json")).json()).to.deep.equal([{ row: 3, label: "cat" }]);

        const chosen = (await (await post("choose", '{"count":4}')).json()) as number[];
        expect(new Set(chosen).size).to.equal(4);
        expect(chosen, "an image that has a label").to.not.include(3);
        for (const wrong of ["", "{}", '{"count":0}', '{"count":501}', '{"count":1.5}'])
          expect((await post("choose", wrong)).status, wrong).to.equal(400);
        expect((await post("choose", '{"count":500}')).status, "more than there are").to.equal(200);
        const alone = await post("suggest", "");
        expect([alone.status, await alone.text()]).to.deep.equal([
          400,
          "expected images of two labels or more, got 1\n",
        ]);
        await post("labels", '[{"row":0,"label":"dog"},{"row":1,"label":"dog"},{"row":4,"label":"cat"}]');
        const { columns, accuracy } = (await (await post("suggest", "")).json()) as Suggestions;
        expect(accuracy).to.be.within(0, 1);
        const [labels, confidence] = columns;
        expect(labels).to.deep.include({ name: "suggested label", names: ["cat", "dog"] });
        expect(labels!.kind === "names" && [0, 1, 3, 4].map((row) => labels!.names[labels!.codes[row]!])).to.deep.equal(
          ["dog", "dog", "cat", "cat"],
        );
        expect(confidence!.kind === "numbers" && confidence!.numbers.slice(0, 2)).to.deep.equal([1, 1]);
        await post("labels", '[{"row":0,"label":null},{"row":1,"label":null},{"row":4,"label":null}]');

        const second = await dino("explore", photos, "--checkpoint", model, "--out", out, "--no-open");
        expect(second).to.deep.include({ code: 1 });
        expect(second.stderr).to.match(
          /process \d+ on .+ is exploring there; wait for it, stop it, or name another --out/,
        );
      } finally {
        await stop(child);
      }
      expect(child.exitCode).to.equal(0);
      const files = await readdir(out);
      expect(files).to.include.members(["features.npy", "features.txt", "labels.jsonl", "places.npy", "thumbnails"]);
      expect(files).to.not.include("features-parts");
    });
  }

  it("maps images that are all alike", async () => {
    const photos = await folder();
    const picture = sharp({ create: { width: 20, height: 20, channels: 3, background: "teal" } });
    for (let i = 0; i < 6; i++) await picture.png().toFile(join(photos, `${i}.png`));
    const { child, read } = await start(photos, join(await folder(), "out"));
    const { values } = parseNpy(new Uint8Array(await (await read("places.npy")).arrayBuffer()));
    await stop(child);
    expect([...values].every(Number.isFinite)).to.equal(true);
  });

  it("reads pages, tiles and transparent pixels as its flags say", async () => {
    const [photos, out] = [await folder(), join(await folder(), "out")];
    const clear = { width: 40, height: 20, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } } as const;
    for (let i = 0; i < 3; i++)
      await sharp({ create: clear })
        .png()
        .toFile(join(photos, `${i}.png`));
    const levelOf = async (...words: readonly string[]) => {
      const { child, read } = await start(photos, out, "--tile", "20", ...words);
      const names = (await (await read("names.json")).json()) as string[];
      const { data } = await sharp(await (await read("pictures/0.webp")).arrayBuffer())
        .raw()
        .toBuffer({ resolveWithObject: true });
      const { values } = parseNpy(await readFile(join(out, "features.npy")));
      await stop(child);
      expect(names).to.deep.equal(
        ["0", "1", "2"].flatMap((name) => [`${name}.png#20x20+0+0`, `${name}.png#20x20+20+0`]),
      );
      return { level: data[0], features: Array.from(values.subarray(0, 4)) };
    };
    const dropped = await levelOf();
    const white = await levelOf("--background", "white");
    expect([dropped.level, white.level]).to.deep.equal([0, 255]);
    expect(white.features, "features of white, not those kept of black").to.not.deep.equal(dropped.features);
    const { code, stderr } = await dino("explore", photos, "--background", "pink");
    expect({ code, stderr }).to.deep.include({ code: 2 });
    expect(stderr).to.include("Allowed choices are none, white, gray, black");
  });

  it("writes a static copy, and replaces only an earlier one that it is told to", async () => {
    const [photos, inside] = [await folder(), await folder()];
    await drawFolder(photos, 3);
    const site = join(inside, "site");
    const words = ["explore", photos, "--checkpoint", checkpoint, "--out", join(inside, "out"), "--export", site];
    const first = await dinoFromSources(...words, "--json");
    expect(JSON.parse(first.stdout)).to.deep.include({ folder: site, missing: [] });
    const script = await readFile(join(site, "api/explore/map.json.js"), "utf8");
    const [, text] = /^mapData\.set\("map\.json", "(.+)"\);$/m.exec(script)!;
    const facts = JSON.parse(Buffer.from(text!, "base64").toString()) as object;
    expect(facts).to.include({ rows: 6, isLive: false, hasPictures: true });
    expect((await readdir(join(site, "api/explore/pictures"))).sort()).to.deep.equal(
      [0, 1, 2, 3, 4, 5].map((row) => `${row}.webp`),
    );
    expect(await readdir(site)).to.not.include("viewer.html");
    const refused = await dinoFromSources(...words);
    expect(refused.code).to.equal(1);
    expect(refused.stderr).to.match(/--export .+: already holds files; --overwrite replaces an earlier export/);
    expect(await dinoFromSources(...words, "--overwrite")).to.include({ code: 0 });
  });

  it("refuses what cannot be explored with one line, and keeps what is there", async () => {
    const [photos, empty, inside] = [await folder(), await folder(), await folder()];
    await drawFolder(photos, 3);
    const refusal = async (...words: readonly string[]) => {
      const { code, stdout, stderr } = await dino("explore", "--checkpoint", checkpoint, "--no-open", ...words);
      expect({ code, stdout }, stderr).to.deep.equal({ code: 1, stdout: "" });
      expect(stderr.split("\n")).to.have.length(2);
      return stderr;
    };
    const out = join(inside, "out");
    expect(await refusal(empty, "--out", out)).to.include("got an empty folder");
    expect(await refusal(join(photos, "red", "0.png"), "--out", out)).to.include("expected at least 4 images, got 1");
    const columns = join(inside, "columns.csv");
    await writeFile(columns, "file,kind\nnone.png,a\n");
    const other = join(inside, "other");
    expect(await refusal(photos, "--out", other, "--columns", columns)).to.include(
      "1 of 1 rows name files that are not in",
    );
    await writeFile(join(other, "labels.jsonl"), '{"file":"red/0.png","label":"cat"}\n');
    expect(await refusal(join(photos, "red"), "--out", other)).to.match(/holds the map of .+; name another folder/);
    expect(await readFile(join(other, "labels.jsonl"), "utf8")).to.include("cat");
    expect(await refusal(photos, "--out", "/proc/none/out")).to.include("expected a folder to write to");
    const foreign = join(inside, "foreign");
    await mkdir(foreign);
    await writeFile(join(foreign, "features.npy"), "of another network");
    expect(await refusal(photos, "--out", foreign)).to.include("which dino explore did not write");
    await rm(columns);
  });
});
