import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { oneLine } from "../../dino/commands/output.js";
import { formatConfig } from "../../dino/config/resolve.js";
import { readFeatures } from "../../dino/evaluation/feature-files.js";
import { attend } from "../../dino/pictures/attend.js";
import { openRevisited } from "../../dino/retrieval/revisited.js";
import { readConfig } from "../../dino/run/config-file.js";
import { readLog } from "../../dino/run/log.js";
import { openDavis } from "../../dino/segmentation/davis.js";
import { encodeLabelMap, readLabelMap, usualPalette } from "../../dino/segmentation/label-map.js";
import { readCheckpoint, readModel, stepsDone } from "../../dino/weights/checkpoint.js";
import { loadModel } from "../../dino/weights/load-model.js";
import { readChoices } from "../../engine/adapters/node.js";
import { encodeSafetensors, parseSafetensors, safetensorsMetadata } from "../../engine/index.js";
import { drawFolder, writeTinyCheckpoint, writeTwoClasses } from "../support/command-line.js";
import { testDevice } from "../support/device.js";
import { fuzzRuns } from "../support/fuzz.js";
import { rejectedWith, rejection } from "../support/rejection.js";
import { dict, op, pickle } from "../support/torch-files.js";

/** What nobody expects where JSON is read. */
const hostile: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    "",
    "../../x",
    "\u001b[2J",
    "x".repeat(5000),
    [],
    {},
    -1,
    0.5,
    1e15,
    1e308,
    2 ** 53,
  ),
  fc.constant(JSON.parse('{ "__proto__": 1, "constructor": null }')),
  fc.constantFrom(3, 2000).map((depth) => JSON.parse("[".repeat(depth) + "]".repeat(depth)) as unknown),
  fc.jsonValue({ maxDepth: 2 }),
);

/** A value with one part of it, found by going down as the numbers say, replaced or left out. */
function changed(value: unknown, path: readonly number[], by: unknown): unknown {
  const keys = typeof value === "object" && value !== null ? Object.keys(value) : [];
  const [first, ...rest] = path;
  if (first === undefined || keys.length === 0) return by;
  const key = keys[first % keys.length]!;
  const below = changed((value as Record<string, unknown>)[key], rest, by);
  if (Array.isArray(value)) return value.map((item: unknown, i) => (String(i) === key ? below : item));
  return { ...(value as object), [key]: below };
}

/** A text of JSON, a value in a line, with one value changed somewhere. */
const damagedJson = (text: string): fc.Arbitrary<string> => {
  const lines =
    text.trim().split("\n}\n").length > 1 ? [text] : text.startsWith("{\n") ? [text] : text.trim().split("\n");
  return fc
    .tuple(fc.nat(lines.length - 1), fc.array(fc.nat(100), { maxLength: 3 }), fc.option(hostile, { nil: undefined }))
    .map(([at, path, by]) =>
      lines.map((line, i) => (i === at ? JSON.stringify(changed(JSON.parse(line), path, by)) : line)).join("\n"),
    )
    .map((joined) => `${joined}\n`);
};

/** Bytes with some changed, some put in, or the end cut off. */
const damagedBytes = (whole: Uint8Array): fc.Arbitrary<Uint8Array> => {
  const place = fc.oneof(fc.nat(whole.length), fc.nat(Math.min(whole.length, 200)));
  const changes = fc.array(fc.tuple(place, fc.oneof(fc.constantFrom(0, 0xff), fc.nat(255))), { maxLength: 4 });
  return fc
    .tuple(changes, fc.option(place), fc.option(fc.tuple(place, fc.uint8Array({ maxLength: 9 }))))
    .map(([some, cut, put]) => {
      const bytes = Uint8Array.from(whole.subarray(0, cut ?? whole.length));
      for (const [at, byte] of some) if (at < bytes.length) bytes[at] = byte;
      return put === null ? bytes : Buffer.concat([bytes.subarray(0, put[0]), put[1], bytes.subarray(put[0])]);
    });
};

/** Far more than the files here need, and far less than what a header can claim. */
const MOST_BYTES = 64 * 2 ** 20;

describe("damaged files", function () {
  this.timeout(fuzzRuns(60) * 5000);
  let folder: string;
  before(async () => void (folder = await mkdtemp(join(tmpdir(), "damaged-"))));
  after(() => rm(folder, { recursive: true }));

  /** Reads the file, or refuses it in an error that names it or a file beside it, soon and without much memory. */
  async function readsOrRefuses(path: string, read: () => unknown): Promise<void> {
    const begin = performance.now();
    const before = process.memoryUsage().arrayBuffers;
    const error = await Promise.resolve()
      .then(read)
      .then(
        () => undefined,
        (reason: unknown) => reason,
      );
    expect(process.memoryUsage().arrayBuffers - before, "bytes").to.be.below(MOST_BYTES);
    expect(performance.now() - begin, "milliseconds").to.be.below(4000);
    if (error === undefined) return;
    expect(error).to.be.instanceOf(Error);
    const { message } = error as Error;
    expect(message).to.include(dirname(path));
    expect(oneLine(message)).not.to.match(/\p{Cc}/u);
    expect(message.length).to.be.below(path.length + 2500);
  }

  interface Case {
    readonly what: string;
    /** Writes a whole file, and says where and how it is read. */
    readonly make: () => Promise<{ readonly path: string; readonly read: () => unknown }>;
    readonly json?: true;
  }

  const at = (...names: readonly string[]) => join(folder, ...names);
  const truth = { imlist: ["a", "b"], qimlist: ["q"], gnd: [{ bbx: [0, 0, 9, 9], easy: [0], hard: [1], junk: [] }] };
  const list = (...items: readonly (readonly number[])[]) => [
    ...op.emptyList,
    ...op.mark,
    ...items.flat(),
    ...op.appends,
  ];
  const cases: readonly Case[] = [
    {
      what: "a config.json",
      json: true,
      make: async () => {
        const config = await writeTinyCheckpoint(at("unused.safetensors"));
        await writeFile(at("config.json"), formatConfig(config));
        return { path: at("config.json"), read: () => readConfig(folder) };
      },
    },
    {
      what: "a log.jsonl",
      json: true,
      make: async () => {
        const step = { step: 2, epoch: 0, loss: 3, teacherEntropy: 1, klDivergence: 2, gradientNorm: null, lr: 0.1 };
        const epoch = { type: "epoch", step: 2, epoch: 0, loss: 3, knn: { k: 10, top1: 50, top5: 90 } };
        await writeFile(at("log.jsonl"), `${JSON.stringify(step)}\n${JSON.stringify(epoch)}\n`);
        return { path: at("log.jsonl"), read: () => readLog(at("log.jsonl")) };
      },
    },
    {
      what: "choices of tuning",
      json: true,
      make: async () => {
        await writeFile(at("tuned.json"), JSON.stringify({ matmul: "tiled" }));
        return { path: at("tuned.json"), read: () => readChoices(at("tuned.json")) };
      },
    },
    {
      what: "a list beside features",
      json: true,
      make: async () => {
        const path = await writeTwoClasses(at("listed.npy"));
        return { path: at("listed.json"), read: () => readFeatures(path) };
      },
    },
    {
      what: "features",
      make: async () => {
        const path = await writeTwoClasses(at("features.npy"));
        return { path, read: () => readFeatures(path) };
      },
    },
    {
      what: "a checkpoint",
      make: async () => {
        const path = at("run.safetensors");
        await writeTinyCheckpoint(path);
        const device = await testDevice();
        const load = async () => (await loadModel(device, path))[Symbol.dispose]();
        return { path, read: () => Promise.all([readCheckpoint(path), readModel(path), stepsDone(path), load()]) };
      },
    },
    {
      what: "masks",
      make: async () => {
        const labels = Uint8Array.from({ length: 64 }, (_, i) => i % 3);
        await writeFile(at("mask.png"), encodeLabelMap({ rows: 8, cols: 8, labels, palette: usualPalette() }));
        return { path: at("mask.png"), read: () => readLabelMap(at("mask.png")) };
      },
    },
    {
      what: "a ground truth",
      json: true,
      make: async () => {
        await mkdir(at("roxford5k"), { recursive: true });
        const path = at("roxford5k", "gnd_roxford5k.json");
        await writeFile(path, JSON.stringify(truth));
        return { path, read: () => openRevisited(folder, "roxford5k") };
      },
    },
    {
      what: "a ground truth of Python",
      make: async () => {
        await mkdir(at("rparis6k"), { recursive: true });
        const path = at("rparis6k", "gnd_rparis6k.pkl");
        const numbers = (...values: readonly number[]) => list(...values.map((value) => op.int(value)));
        const entry = dict({ bbx: numbers(0, 0, 9, 9), easy: numbers(0), hard: numbers(1), junk: op.emptyList });
        const lists = { imlist: list(op.text("a"), op.text("b")), qimlist: list(op.text("q")), gnd: list(entry) };
        await writeFile(path, pickle(dict(lists)));
        return { path, read: () => openRevisited(folder, "rparis6k") };
      },
    },
  ];

  for (const { what, make, json } of cases) {
    it(`are read or refused by name: damaged bytes of ${what}`, async () => {
      const { path, read } = await make();
      await read();
      const whole = await readFile(path);
      await fc.assert(
        fc.asyncProperty(damagedBytes(whole), async (bytes) => {
          await writeFile(path, bytes);
          await readsOrRefuses(path, read);
        }),
        { numRuns: fuzzRuns(60), seed: 1 },
      );
    });

    if (!json) continue;
    it(`are read or refused by name: damaged values of ${what}`, async () => {
      const { path, read } = await make();
      const whole = await readFile(path, "utf8");
      await fc.assert(
        fc.asyncProperty(damagedJson(whole), async (text) => {
          await writeFile(path, text);
          await readsOrRefuses(path, read);
        }),
        { numRuns: fuzzRuns(150), seed: 1 },
      );
    });
  }

  it("are read or refused by name: damaged notes of a checkpoint", async () => {
    const path = at("notes.safetensors");
    const config = await writeTinyCheckpoint(path);
    const device = await testDevice();
    const whole = await readFile(path);
    const tensors = parseSafetensors(whole);
    const notes = safetensorsMetadata(whole);
    const note = fc.oneof(
      fc.tuple(
        fc.constantFrom("format", "step", "unlogged", "choices"),
        fc.oneof(
          fc.string(),
          hostile.map((value) => JSON.stringify(value)),
        ),
      ),
      fc.tuple(fc.constant("config"), damagedJson(JSON.stringify(config))),
    );
    const load = async () => (await loadModel(device, path))[Symbol.dispose]();
    await fc.assert(
      fc.asyncProperty(note, async ([name, text]) => {
        await writeFile(path, encodeSafetensors(tensors, { ...notes, [name]: text }));
        for (const read of [readCheckpoint, readModel, stepsDone]) await readsOrRefuses(path, () => read(path));
        await readsOrRefuses(path, load);
      }),
      { numRuns: fuzzRuns(150), seed: 1 },
    );
  });

  it("make no room for what settings, masks and shared lists claim", async () => {
    const device = await testDevice();
    const path = at("claims.safetensors");
    const config = await writeTinyCheckpoint(path);
    const whole = await readFile(path);
    for (const claim of [
      { dim: 2 ** 40, heads: 1 },
      { depth: 1000 },
      { depth: 2 ** 40 },
      { imageSize: { rows: 2 ** 26, cols: 8 } },
    ]) {
      const notes = { ...safetensorsMetadata(whole), config: JSON.stringify({ ...config, ...claim }) };
      await writeFile(path, encodeSafetensors(parseSafetensors(whole), notes));
      await readsOrRefuses(path, async () =>
        expect((await rejectedWith(loadModel(device, path))).message).to.include(path),
      );
    }
    const mask = encodeLabelMap({ rows: 8, cols: 8, labels: new Uint8Array(64), palette: usualPalette() });
    new DataView(mask.buffer, mask.byteOffset).setUint32(16, 2 ** 20);
    new DataView(mask.buffer, mask.byteOffset).setUint32(20, 2 ** 20);
    await writeFile(at("claims.png"), mask);
    await readsOrRefuses(at("claims.png"), async () =>
      expect(await rejection(readLabelMap(at("claims.png")))).to.include("1099511627776 pixels, more than its"),
    );
    await mkdir(at("rparis6k"), { recursive: true });
    const shared = [...list(...Array.from({ length: 20_000 }, () => op.int(0))), 0x71, 0]; // kept under 0
    const entries = Array.from({ length: 20_000 }, () => [...op.emptyDict, ...op.text("easy"), 0x68, 0, 0x73]); // taken from there
    await writeFile(at("rparis6k", "gnd_rparis6k.pkl"), pickle(dict({ imlist: shared, gnd: list(...entries) })));
    await readsOrRefuses(at("rparis6k", "x"), async () =>
      expect(await rejection(openRevisited(folder, "rparis6k"))).to.include("more numbers than the file has bytes"),
    );
  });
});

describe("names of hostile inputs", function () {
  this.timeout(60_000);
  let folder: string;
  before(async () => void (folder = await mkdtemp(join(tmpdir(), "names-"))));
  after(() => rm(folder, { recursive: true }));

  it("keep pictures within the folder they go to, whatever files are called and links point to", async () => {
    const checkpoint = join(folder, "run.safetensors");
    await writeTinyCheckpoint(checkpoint);
    const photos = join(folder, "photos");
    await drawFolder(join(folder, "elsewhere"), 1);
    const png = await readFile(join(folder, "elsewhere/red/0.png"));
    const deep = join("a".repeat(120), "b".repeat(120));
    await mkdir(join(photos, deep), { recursive: true });
    const names = ["x..\\..\\..\\x.png", "C:\\x.png", "%2e%2e%2fx.png", "x\u001b[2J\n.png", "x.png", `${deep}/c.png`];
    for (const name of names) await writeFile(join(photos, name), png);
    await symlink(join(folder, "elsewhere"), join(photos, "link"), "dir");
    await symlink(photos, join(photos, "round"), "dir");

    const before = await readdir(folder);
    using model = await loadModel(await testDevice(), checkpoint);
    const out = join(folder, "out");
    const { images, failures } = await attend({
      model,
      paths: [photos, join(photos, "..", "elsewhere", "red", "..", "red", "0.png")],
      out,
      size: 16,
      share: 0.6,
    });
    expect(failures).to.deep.equal([]);
    expect(images).to.have.length(names.length + 3);
    expect((await readdir(folder)).sort()).to.deep.equal([...before, "out"].sort());
    expect(images.map(({ picture }) => dirname(picture))).to.deep.equal(images.map(() => out));
    expect(await readdir(out)).to.have.length(images.length * (1 + 3 * 3));
  });

  it("are refused where a list of videos has paths", async () => {
    await mkdir(join(folder, "ImageSets/2017"), { recursive: true });
    for (const name of ["../../x", "/etc", "a/b", "..", "..\\x"]) {
      await writeFile(join(folder, "ImageSets/2017/val.txt"), `${name}\n`);
      expect(await rejection(openDavis(folder, { set: "val" }))).to.include(`${name}, which is a path, not a name`);
    }
  });
});
