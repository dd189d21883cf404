import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import fc from "fast-check";
import { vitSpecs } from "../../../dino/model/vit-params.js";
import { importNetwork, type ImportOptions } from "../../../dino/weights/import.js";
import { fuzzRuns } from "../../support/fuzz.js";
import { rejection } from "../../support/rejection.js";
import { put as putInto, temporaryFolders } from "../../support/temporary-folders.js";
import {
  dict,
  legacyFile,
  op,
  pickle,
  tensor,
  type TensorWords,
  zip,
  type ZipEntry,
} from "../../support/torch-files.js";

const fixtures = fileURLToPath(new URL("../../fixtures", import.meta.url));

describe("import of hostile files", function () {
  this.timeout(60_000);
  let folder: string;
  const makeFolder = temporaryFolders("import");
  before(async () => void (folder = await makeFolder()));
  const put = (name: string, bytes: Uint8Array | string) => putInto(folder, name, bytes);

  const floats = Float32Array.of(1, 2, 3, 4);
  const one = (words: TensorWords) => legacyFile(dict({ cls_token: tensor(words) }), floats);
  const archive = (saved: readonly number[], ...entries: readonly ZipEntry[]) =>
    zip([{ name: "a/data.pkl", bytes: pickle(saved) }, ...entries]);
  const numbers = new Uint8Array(floats.buffer);
  const huge = 2 ** 45;

  const refused: readonly (readonly [string, Uint8Array, string])[] = [
    ["an empty file", new Uint8Array(), "expected a file of PyTorch"],
    ["a text", new TextEncoder().encode("<html>404: this is no checkpoint</html>"), "expected a file of PyTorch"],
    ["a bare pickle", pickle(dict({})), "expected a file of PyTorch"],
    ["a storage larger than the file", one({ elements: huge }), `storage 0 has 4 elements, expected ${huge}`],
    ["a storage of a negative size", one({ elements: -4 }), "expected a storage"],
    ["strides beyond the storage", one({ shape: [2, 2], strides: [3, 1] }), "does not fit its storage of 4 elements"],
    ["an offset beyond the storage", one({ offset: 1 }), "does not fit its storage"],
    ["a negative offset", one({ offset: -1 }), "are not whole numbers"],
    ["negative strides", one({ strides: [-1], offset: 3 }), "are not whole numbers"],
    ["one number as many", one({ shape: [huge], strides: [0] }), "does not fit its storage"],
    ["a shape beyond counting", one({ shape: [huge, huge], strides: [0, 0] }), "out of range"],
    ["more strides than axes", one({ strides: [1, 1] }), "are not whole numbers"],
    [
      "a million axes",
      one({ shape: Array.from({ length: 1e5 }, () => 1), strides: Array.from({ length: 1e5 }, () => 0) }),
      "",
    ],
    ["a name for the terminal", legacyFile(dict({ "\u001b[2Jgone": op.none })), 'got null under "?[2Jgone"'],
    ["a name of a million letters", legacyFile(dict({ ["a".repeat(1e6)]: op.none })), `"${"a".repeat(100)}...`],
    ["an object for the tensors", legacyFile(op.none), "expected tensors by name, got null"],
    ["a tensor alone", legacyFile(tensor(), floats), "expected tensors by name, got one tensor"],
    [
      "a dictionary that holds itself",
      legacyFile([...op.emptyDict, 0x71, 0, ...op.text("teacher"), 0x68, 0, 0x73]),
      "",
    ],
    ["an archive without a pickle", zip([{ name: "a/b", bytes: [1] }]), "without one data.pkl"],
    [
      "an archive of two",
      zip([...["a", "b"].map((name) => ({ name: `${name}/data.pkl`, bytes: [1] }))]),
      "without one",
    ],
    ["one name twice", archive(op.none, { name: "a/data.pkl", bytes: [] }), "two entries"],
    ["a storage that is missing", archive(dict({ a: tensor() })), "the archive has no a/data/0"],
    [
      "a storage cut short",
      archive(dict({ a: tensor() }), { name: "a/data/0", bytes: numbers.slice(4) }),
      "storage 0 takes 12 bytes, expected 16",
    ],
    [
      "a storage that inflates",
      archive(dict({ a: tensor() }), { name: "a/data/0", bytes: numbers, method: 8 }),
      "a/data/0 is compressed",
    ],
    ["a pickle that inflates", zip([{ name: "a/data.pkl", bytes: [0], method: 8, size: 2 ** 31 }]), "is compressed"],
    ["an entry larger than the file", zip([{ name: "a/data.pkl", bytes: [0], size: 2 ** 31 }]), "more than"],
    [
      "numbers in big-endian order",
      archive(op.none, { name: "a/byteorder", bytes: new TextEncoder().encode("big") }),
      'little-endian order, got "big"',
    ],
    ["an archive cut off", archive(op.none).slice(0, 40), "End of central directory"],
  ];
  for (const [what, bytes, message] of refused) {
    it(`refuses ${what}`, async () => {
      const path = await put("hostile.pth", bytes);
      const found = await rejection(importNetwork(path, { heads: 2 }));
      expect(found)
        .to.include(message)
        .and.match(new RegExp(`^${path}: `));
      expect(found.length).to.be.below(path.length + 1010);
    });
  }

  it("refuses tensors that share so much that they outgrow the file", async () => {
    const shape = { imageRows: 8, imageCols: 8, patch: 4, dim: 64, depth: 4, heads: 1, mlpRatio: 4, channels: 3 };
    const elements = 4 * 64 * 64;
    const saved = vitSpecs({ ...shape, dropPathRate: 0 }).map(({ name, shape: axes }): [string, number[]] => {
      const strides = axes.map((_, axis) => axes.slice(axis + 1).reduce((product, other) => product * other, 1));
      return [name, tensor({ elements, shape: axes, strides })];
    });
    const path = await put("shared.pth", legacyFile(dict(Object.fromEntries(saved)), new Float32Array(elements)));
    expect(await rejection(importNetwork(path))).to.include("more numbers than the file has bytes");
  });

  const reads = async (path: string): Promise<void> => {
    const options: ImportOptions = { heads: 2, allowPartial: true };
    try {
      const { tensors } = await importNetwork(path, options);
      for (const { values } of tensors.values()) expect(values.every(Number.isFinite)).to.equal(true);
    } catch (error) {
      expect((error as Error).message).to.match(new RegExp(`^${path}: `));
    }
  };

  for (const name of ["backbone", "types-legacy"]) {
    it(`reads or refuses a damaged ${name}.pth, with any bytes changed or cut off`, async () => {
      const whole = await readFile(join(fixtures, `${name}.pth`));
      const place = fc.nat(whole.length - 1);
      const damage = fc.array(fc.tuple(fc.oneof(place, fc.nat(2500)), fc.nat(255)), { minLength: 1, maxLength: 4 });
      await fc.assert(
        fc.asyncProperty(damage, fc.option(place), async (changes, cut) => {
          const bytes = Uint8Array.from(whole.subarray(0, cut ?? whole.length));
          for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
          await reads(await put("damaged.pth", bytes));
        }),
        { numRuns: fuzzRuns(150), seed: 1 },
      );
    }).timeout(fuzzRuns(400) * 150);
  }
});
