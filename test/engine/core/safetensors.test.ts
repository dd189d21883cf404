import { expect } from "chai";
import fc from "fast-check";
import {
  encodeSafetensors,
  parseSafetensors,
  safetensorsMetadata,
  type SafeTensor,
} from "../../../engine/core/safetensors.js";
import { fuzzRuns } from "../../support/fuzz.js";

/** Builds a file with `header` (text, or a value for JSON), followed by `room` bytes of data. */
function fileOf(header: unknown, room = 0, claimed?: bigint): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + room);
  new DataView(file.buffer).setBigUint64(0, claimed ?? BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

const f32 = (shape: readonly number[], ...offsets: number[]): object => ({
  dtype: "F32",
  shape,
  data_offsets: offsets,
});

const everyDtype: readonly (readonly [string, SafeTensor])[] = [
  ["bytes", { dtype: "U8", shape: [3], data: Uint8Array.of(0, 7, 255) }],
  ["flags", { dtype: "BOOL", shape: [2, 1], data: Uint8Array.of(1, 0) }],
  ["signed bytes", { dtype: "I8", shape: [1], data: Int8Array.of(-128) }],
  ["shorts", { dtype: "U16", shape: [1], data: Uint16Array.of(65535) }],
  ["signed shorts", { dtype: "I16", shape: [1], data: Int16Array.of(-32768) }],
  ["halves", { dtype: "F16", shape: [1], data: Uint16Array.of(0x3c00) }],
  ["bfloats", { dtype: "BF16", shape: [1], data: Uint16Array.of(0x3f80) }],
  ["words", { dtype: "U32", shape: [1], data: Uint32Array.of(0xffffffff) }],
  ["integers", { dtype: "I32", shape: [2], data: Int32Array.of(-1, 2 ** 31 - 1) }],
  ["floats", { dtype: "F32", shape: [2, 2], data: Float32Array.of(1.5, -0, NaN, -Infinity) }],
  ["long words", { dtype: "U64", shape: [1], data: BigUint64Array.of(2n ** 64n - 1n) }],
  ["long integers", { dtype: "I64", shape: [1], data: BigInt64Array.of(-(2n ** 63n)) }],
  ["doubles", { dtype: "F64", shape: [1], data: Float64Array.of(Math.PI) }],
  ["one number", { dtype: "F32", shape: [], data: Float32Array.of(42) }],
  ["nothing", { dtype: "F32", shape: [4, 0], data: new Float32Array(0) }],
];

const anyTensor: fc.Arbitrary<SafeTensor> = fc
  .tuple(fc.array(fc.nat(4), { maxLength: 4 }), fc.constantFrom("F32", "U8", "I64", "F16"), fc.nat(255))
  .map(([shape, dtype, fill]) => {
    const length = shape.reduce((product, each) => product * each, 1);
    switch (dtype) {
      case "F32":
        return { dtype, shape, data: new Float32Array(length).fill(fill / 7) };
      case "U8":
        return { dtype, shape, data: new Uint8Array(length).fill(fill) };
      case "I64":
        return { dtype, shape, data: new BigInt64Array(length).fill(BigInt(-fill)) };
      case "F16":
        return { dtype, shape, data: new Uint16Array(length).fill(fill) };
      default:
        return dtype satisfies never;
    }
  });

const anyFile = fc.dictionary(fc.string({ unit: "grapheme" }), anyTensor, { maxKeys: 6 });

describe("safetensors", () => {
  it("reads what it wrote, of every dtype, in the order written", () => {
    const read = parseSafetensors(encodeSafetensors(everyDtype));
    expect([...read]).to.deep.equal(everyDtype);
  });

  it("reads what it wrote, at any alignment, and writes the same bytes again", () => {
    fc.assert(
      fc.property(anyFile, fc.nat(9), (tensors, shift) => {
        const given = Object.entries(tensors).filter(([name]) => name !== "__metadata__");
        const file = encodeSafetensors(given);
        const shifted = new Uint8Array(file.length + shift);
        shifted.set(file, shift);
        const read = parseSafetensors(shifted.subarray(shift));
        expect([...read]).to.deep.equal(given);
        expect(encodeSafetensors(read)).to.deep.equal(file);
      }),
    );
  });

  it("keeps metadata, and names that mean something to JavaScript", () => {
    const one: SafeTensor = { dtype: "F32", shape: [1], data: Float32Array.of(1) };
    const file = encodeSafetensors(
      [
        ["__proto__", one],
        ["constructor", one],
      ],
      { epoch: "3", note: 'quotes " and ü' },
    );
    expect([...parseSafetensors(file).keys()]).to.deep.equal(["__proto__", "constructor"]);
    expect(safetensorsMetadata(file)).to.deep.equal({ epoch: "3", note: 'quotes " and ü' });
    expect(safetensorsMetadata(encodeSafetensors([]))).to.deep.equal({});
    expect(parseSafetensors(encodeSafetensors([])).size).to.equal(0);
  });

  it("aligns every tensor to its element size, so that reading copies nothing", () => {
    const file = encodeSafetensors(everyDtype);
    for (const [name, { data }] of parseSafetensors(file)) {
      expect(data.byteOffset % data.BYTES_PER_ELEMENT, name).to.equal(0);
      expect(data.buffer, name).to.equal(file.buffer);
    }
  });

  const hostile: readonly (readonly [what: string, file: Uint8Array, message: string])[] = [
    ["an empty file", new Uint8Array(0), "expected at least 8 bytes, got 0"],
    ["seven bytes", new Uint8Array(7), "expected at least 8 bytes, got 7"],
    ["a header longer than the file", fileOf({}, 0, 3n), "claims 3 bytes, but 2 follow"],
    ["a header of 2^64 - 1 bytes", fileOf({}, 0, 2n ** 64n - 1n), "claims 18446744073709551615 bytes, but 2 follow"],
    ["no header at all", fileOf(""), "the header is not JSON"],
    ["a header that is no JSON", fileOf("{nonsense"), "the header is not JSON"],
    ["a header that is no UTF-8", Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0xff), "the header is not JSON"],
    ["a header cut short", fileOf('{"a":{}}', 0, 4n), "the header is not JSON"],
    ["deep nesting", fileOf("[".repeat(200_000)), "the header is not JSON"],
    ["a list for a header", fileOf([]), "the header is not a JSON object"],
    ["null for a header", fileOf("null"), "the header is not a JSON object"],
    ["a tensor that is a number", fileOf({ a: 1 }), '"a" is not a JSON object'],
    ["an unknown dtype", fileOf({ a: { dtype: "F8", shape: [], data_offsets: [0, 1] } }, 1), 'got "F8"'],
    [
      "a dtype of Object.prototype",
      fileOf({ a: { dtype: "toString", shape: [], data_offsets: [0, 1] } }, 1),
      "toString",
    ],
    ["no dtype", fileOf({ a: { shape: [], data_offsets: [0, 1] } }, 1), '"a": expected a dtype'],
    ["no shape", fileOf({ a: { dtype: "U8", data_offsets: [0, 1] } }, 1), "shape is not a list"],
    ["a negative length", fileOf({ a: f32([-1], 0, 4) }, 4), "shape is not a list of whole numbers"],
    ["a broken length", fileOf({ a: f32([0.5], 0, 2) }, 2), "shape is not a list of whole numbers"],
    ["lengths beyond numbers", fileOf({ a: f32([2 ** 40, 2 ** 40], 0, 4) }, 4), "out of range"],
    ["lengths that overflow to 0", fileOf({ a: f32([2 ** 32, 2 ** 32, 0], 0, 0) }), "out of range"],
    ["a size that is not its shape's", fileOf({ a: f32([2], 0, 4) }, 4), "takes 8 bytes, but data_offsets are [0, 4]"],
    ["one offset", fileOf({ a: f32([1], 0) }, 4), "data_offsets is not [begin, end]"],
    ["offsets backwards", fileOf({ a: f32([1], 4, 0) }, 4), "data_offsets are [4, 0]"],
    ["a negative offset", fileOf({ a: f32([1], -4, 0) }, 4), "data_offsets is not [begin, end]"],
    ["a tensor beyond the file", fileOf({ a: f32([1], 4, 8) }, 4), '"a" ends at byte 8 of 4; the file is cut off'],
    ["a huge claim in a small file", fileOf({ a: f32([2 ** 40], 0, 2 ** 42) }, 4), "the file is cut off"],
    ["overlapping tensors", fileOf({ a: f32([2], 0, 8), b: f32([1], 4, 8) }, 8), '"b" begins at byte 4, inside'],
    ["one range twice", fileOf({ a: f32([1], 0, 4), b: f32([1], 0, 4) }, 4), "inside another tensor"],
    ["a gap", fileOf({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12), "bytes from 4 on belong to no tensor"],
    ["bytes left over", fileOf({ a: f32([1], 0, 4) }, 9), "5 bytes after the last tensor"],
    ["metadata that is a list", fileOf({ __metadata__: [] }), "__metadata__ is not a JSON object"],
    ["metadata of numbers", fileOf({ __metadata__: { a: 1 } }), '__metadata__ "a": expected a string'],
  ];
  for (const [what, file, message] of hostile) {
    it(`refuses ${what}`, () => {
      expect(() => parseSafetensors(file)).to.throw(Error, "safetensors: ");
      expect(() => parseSafetensors(file)).to.throw(message);
      expect(() => safetensorsMetadata(file)).to.throw(message);
    });
  }

  it("reads or refuses any damaged file by name, and allocates no more than the file's size", () => {
    const place = fc.nat({ max: 4000 });
    const damage = fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(anyFile, damage, fc.option(place), (tensors, changes, cut) => {
        const file = encodeSafetensors(Object.entries(tensors).filter(([name]) => name !== "__metadata__"));
        for (const [at, byte] of changes) file[at % file.length] = byte;
        const damaged = file.slice(0, cut === null ? file.length : cut % file.length);
        try {
          let bytes = 0;
          for (const { data } of parseSafetensors(damaged).values()) bytes += data.byteLength;
          expect(bytes).to.be.at.most(damaged.length);
        } catch (error) {
          expect((error as Error).message).to.match(/^safetensors: /);
        }
      }),
      { numRuns: fuzzRuns(500), seed: 1 },
    );
  });

  it("refuses to write what it could not read", () => {
    const one: SafeTensor = { dtype: "F32", shape: [1], data: Float32Array.of(1) };
    const twice = [
      ["a", one],
      ["a", one],
    ] as const;
    expect(() => encodeSafetensors(twice)).to.throw('safetensors: "a" is given twice');
    expect(() => encodeSafetensors([["__metadata__", one]])).to.throw("reserved");
    expect(() => encodeSafetensors([["a", { ...one, shape: [2] }]])).to.throw('"a": shape [2] holds 2 elements, got 1');
    expect(() => encodeSafetensors([["a", { ...one, shape: [-1] }]])).to.throw("whole numbers");
    const disguised = { dtype: "F32", shape: [1], data: Float64Array.of(1) } as unknown as SafeTensor;
    expect(() => encodeSafetensors([["a", disguised]])).to.throw("dtype F32 is held by Float32Array, got Float64Array");
    const numbers = { a: 1 } as unknown as Record<string, string>;
    expect(() => encodeSafetensors([], numbers)).to.throw('metadata "a": expected a string, got number');
  });
});
