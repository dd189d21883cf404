import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative, sep } from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import type { ModelList, RunList } from "../../../dino/dashboard/api.js";
import { type Dashboard, openDashboard } from "../../../dino/dashboard/server.js";
import { openSite } from "../../../dino/dashboard/site.js";
import { runIndexPath, readFeatures, writeFeatures } from "../../../dino/evaluation/feature-files.js";
import { parseNpy, parseNpyBytes } from "../../../dino/files/npy.js";
import type { Image } from "../../../dino/images/pixels.js";
import { decodeImage } from "../../../dino/images/sources/decode.js";
import { vitConfig } from "../../../dino/model/configure.js";
import { runFiles } from "../../../dino/run/run-folder.js";
import { parseModel } from "../../../dino/weights/checkpoint-bytes.js";
import { readModel } from "../../../dino/weights/checkpoint.js";
import { dinoFromSources, writeTinyCheckpoint } from "../../support/command-line.js";
import { families, writeModelOf } from "../../support/families.js";
import { rejection } from "../../support/rejection.js";
import { writeIndex, writeShownRun } from "../../support/shown-run.js";
import { drawSpectralFolder, spectralChannels } from "../../support/spectral-images.js";

describe("dashboard models and indexes", () => {
  let inside: string;
  let shown: string;
  let models: Dashboard;
  const fetchFrom = async (path: string) => {
    const response = await fetch(`${models.address}${path}`);
    return { status: response.status, bytes: new Uint8Array(await response.arrayBuffer()) };
  };
  const json = async (path: string) => JSON.parse(new TextDecoder().decode((await fetchFrom(path)).bytes)) as unknown;

  before(async () => {
    inside = await mkdtemp(join(tmpdir(), "dino-dashboard-"));
    await writeFile(join(inside, "secret.json"), "secret");
    shown = join(inside, "shown");
    await writeShownRun(join(shown, "a run"));
    for (const family of families) await writeModelOf(family, join(inside, `${family}.safetensors`));
    const files = families.map((family) => join(inside, `${family}.safetensors`));
    const options = { roots: [shown], models: files, log: () => undefined };
    models = await openDashboard({ ...options, host: "127.0.0.1", port: 0 });
  });
  after(async () => {
    await models[Symbol.asyncDispose]();
    await rm(inside, { recursive: true, force: true });
  });

  it("gives the teacher's backbone of runs and files", async () => {
    const list = (await json("api/models.json")) as ModelList;
    expect(list.map(({ name, index }) => [name, index?.isOutdated])).to.deep.equal([
      ["a run", false],
      ...families.map((family) => [family, undefined]),
    ]);
    const { bytes } = await fetchFrom("api/models/a%20run/model.safetensors");
    const whole = await readModel(runFiles(join(shown, "a run")).checkpoint);
    const sent = await parseModel(bytes);
    expect([...sent.tensors.keys()]).to.deep.equal(
      [...whole.tensors.keys()].filter((name) => name.startsWith("backbone.")),
    );
    expect(sent.tensors.get("backbone.cls_token")).to.deep.equal(whole.tensors.get("backbone.cls_token"));
    for (const family of ["DINOv2", "DINOv3"]) {
      const given = await parseModel((await fetchFrom(`api/models/${family}/model.safetensors`)).bytes);
      const { config, tensors } = await readModel(join(inside, `${family}.safetensors`));
      expect(vitConfig(given.config), family).to.deep.equal(vitConfig(config));
      expect(given.tensors, family).to.deep.equal(tensors);
    }
  });

  it("gives the features of an index, what they are of, and small pictures", async () => {
    const at = "api/models/a%20run";
    expect(await json(`${at}/index.json`)).to.deep.equal({
      files: [0, 1, 2].map((i) => `blue/${i}.png`).concat([0, 1, 2].map((i) => `red/${i}.png`)),
      classes: ["blue", "red"],
      labels: [0, 0, 0, 1, 1, 1],
      inputs: "webp",
    });
    const { features } = await readFeatures(runIndexPath(join(shown, "a run")));
    expect(parseNpy((await fetchFrom(`${at}/features.npy`)).bytes).values).to.deep.equal(features.values);
    const { bytes } = await fetchFrom(`${at}/images/3.webp`);
    const decoded = await sharp(bytes).raw().toBuffer();
    const original = await sharp(join(shown, "a run-photos", "red", "0.png"))
      .removeAlpha()
      .raw()
      .toBuffer();
    expect(decoded.equals(original), "a small image stays as it is").to.equal(true);
    for (const nothing of [
      "images/6.webp",
      "images/-1.webp",
      "images/x.webp",
      "images/0.npy",
      "images/0.png",
      "log.json",
      "checkpoint.safetensors",
    ])
      expect(await fetchFrom(`${at}/${nothing}`), nothing).to.have.property("status", 404);
    expect(await fetchFrom("api/models/DINO/features.npy")).to.have.property("status", 404);
  });

  it("gives images with all channels that a network takes, and pictures of red, green and blue", async () => {
    const data = join(inside, "fields");
    const checkpoint = join(inside, "five.safetensors");
    await drawSpectralFolder(data, 1);
    await writeTinyCheckpoint(checkpoint, { channels: 5, channelNames: [...spectralChannels], range: [0, 4095] });
    await writeIndex(join(inside, "five.npy"), { data, checkpoint });
    const site = await openSite({ roots: [], indexes: [join(inside, "five.npy")], log: () => undefined });
    const bytesAt = async (name: string) => {
      const content = await site.read(`/api/models/five/${name}`, new URLSearchParams());
      return content?.bytes as Uint8Array;
    };
    expect(JSON.parse(String(await bytesAt("index.json")))).to.include({ inputs: "npy" });
    const path = join(data, "water", "0.tif");
    const place = { name: path, bytes: { kind: "file", path } } as const;
    const { pixels } = (await decodeImage(place, { channels: 5, range: [0, 4095] })) as Image;
    expect(parseNpyBytes(await bytesAt("images/1.npy"))).to.deep.equal({ values: pixels, shape: [18, 20, 5] });
    const picture = await sharp(await bytesAt("images/1.webp"))
      .raw()
      .toBuffer();
    const [red, green, blue] = [2, 1, 0].map((channel) => pixels.filter((_, at) => at % 5 === channel));
    expect([...picture], "as their names say").to.deep.equal(
      [...red!].flatMap((value, pixel) => [value, green![pixel]!, blue![pixel]!]),
    );
    expect(await bytesAt("images/2.npy")).to.equal(undefined);
    const addresses = (await site.resources()).map(({ address }) => address);
    expect(addresses).to.include.members(["/api/models/five/images/0.npy", "/api/models/five/images/0.webp"]);
  });

  it("says when a model was trained on after its index", async () => {
    const { checkpoint } = runFiles(join(shown, "a run"));
    const before = await stat(checkpoint);
    await utimes(checkpoint, new Date(), new Date(Date.now() + 10_000));
    expect(((await json("api/models.json")) as ModelList)[0]!.index).to.include({ isOutdated: true });
    await utimes(checkpoint, before.atime, before.mtime);
  });

  it("refuses an index without its model, or of a student, and a model that is none", async () => {
    const site = { roots: [], log: () => undefined };
    const index = join(inside, "other.npy");
    const { features, list } = await readFeatures(runIndexPath(join(shown, "a run")));
    await writeFeatures(index, { features, list: { ...list, checkpoint: "gone.safetensors" } });
    expect(await rejection(openSite({ ...site, indexes: [index] }))).to.match(
      /--index .*other.npy: made with gone.safetensors, which does not exist/,
    );
    await writeFeatures(index, { features, list: { ...list, which: "student" } });
    expect(await rejection(openSite({ ...site, indexes: [index] }))).to.match(/made by a student/);
    const secret = join(inside, "secret.json");
    expect(await rejection(openSite({ ...site, models: [secret] }))).to.include(secret);
  });

  it("dino serve --static writes every file that the server gives", async () => {
    const site = join(inside, "site");
    const { stdout, code } = await dinoFromSources("serve", join(shown, "a run"), "--static", site, "--json");
    expect(code).to.equal(0);
    const { files, missing } = JSON.parse(stdout) as { readonly files: number; readonly missing: readonly string[] };
    expect(missing).to.deep.equal([]);
    const written = (await readdir(site, { recursive: true, withFileTypes: true })).filter((file) => file.isFile());
    expect(written).to.have.length(files);
    for (const { parentPath, name } of written) {
      const path = relative(site, join(parentPath, name));
      if (path === join("api", "runs.json") || path === join("api", "models.json")) continue; // each says what it is
      const { bytes } = await fetchFrom(path.split(sep).map(encodeURIComponent).join("/"));
      expect(Buffer.compare(await readFile(join(site, path)), bytes), path).to.equal(0);
    }
    const list = JSON.parse(await readFile(join(site, "api", "runs.json"), "utf8")) as RunList;
    expect(list.isLive).to.equal(false);
    expect(list.runs.map(({ name }) => name)).to.deep.equal(["a run"]);

    const again = await dinoFromSources("serve", join(shown, "a run"), "--static", site);
    expect([again.code, again.stderr]).to.deep.equal([
      1,
      `dino: --static ${site}: already holds files; --overwrite replaces an earlier export, or use another folder\n`,
    ]);
    await writeFile(join(site, "api", "left.json"), "of another export");
    await writeFile(join(site, "CNAME"), "of the host");
    expect(await dinoFromSources("serve", join(shown, "a run"), "--static", site, "--overwrite")).to.include({
      code: 0,
    });
    expect(await readdir(site)).to.include("CNAME");
    expect(await readdir(join(site, "api"))).to.deep.equal(["models", "models.json", "runs", "runs.json"]);
  });
});
