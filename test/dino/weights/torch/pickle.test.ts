import { expect } from "chai";
import fc from "fast-check";
import { instancesOf, readPickle, type PickleRules } from "../../../../dino/weights/torch/pickle.js";
import { fuzzRuns } from "../../../support/fuzz.js";
import { dict, op, pickle, tuple } from "../../../support/torch-files.js";

const rules: PickleRules = { names: new Map([["shop.Bag", instancesOf("shop.Bag")]]) };
const read = (...parts: readonly (readonly number[])[]) => readPickle(pickle(...parts), rules).value;
const many = (count: number, opcode: readonly number[]): Uint8Array =>
  Uint8Array.from({ length: count }, (_, i) => opcode[i % opcode.length]!);

describe("pickle", () => {
  it("reads plain values", () => {
    const list = [...op.emptyList, ...op.mark, ...op.text("a"), ...op.none, ...op.appends];
    expect(read(dict({ list, pair: tuple(op.int(-7), [0x88]) }))).to.deep.equal(
      new Map<string, unknown>([
        ["list", ["a", null]],
        ["pair", [-7, true]],
      ]),
    );
  });

  // pickle.dumps({"a": [b, 300, -0.5], "c": [b, True, None]}, protocol) of Python 3.11, where b = "b"
  const numbers = "4d2c0147bfe00000000000006558010000006371045d7105286803884e65752e";
  const dumps: Readonly<Record<number, string>> = {
    2: `80027d71002858010000006171015d7102285801000000627103${numbers}`,
    3: `80037d71002858010000006171015d7102285801000000627103${numbers}`,
    4: "80049529000000000000007d94288c0161945d94288c0162944d2c0147bfe0000000000000658c0163945d94286803884e65752e",
    5: "80059529000000000000007d94288c0161945d94288c0162944d2c0147bfe0000000000000658c0163945d94286803884e65752e",
  };
  for (const [protocol, hex] of Object.entries(dumps)) {
    it(`reads protocol ${protocol}`, () => {
      const expected = Object.entries({ a: ["b", 300, -0.5], c: ["b", true, null] });
      expect(readPickle(Buffer.from(hex, "hex"), rules).value).to.deep.equal(new Map(expected));
    });
  }

  it("reads integers of any sign and length, as bigints where they are large", () => {
    expect(read([0x8a, 0])).to.equal(0);
    expect(read([0x8a, 1, 0xff])).to.equal(-1);
    expect(read([0x8a, 2, 0xff, 0x00])).to.equal(255);
    expect(read([0x8a, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1])).to.equal(2n ** 64n);
  });

  it("says where it ends, so that another can follow", () => {
    const [first, second] = [pickle(op.int(1)), pickle(op.int(2))];
    const both = Uint8Array.from([...first, ...second]);
    const { end } = readPickle(both, rules);
    expect(end).to.equal(first.length);
    expect(readPickle(both, rules, end)).to.deep.equal({ value: 2, end: both.length });
  });

  it("keeps the state of an object and nothing else", () => {
    const bag = [...op.name("shop", "Bag"), ...op.emptyTuple, ...op.reduce];
    expect(read(bag, dict({ apples: op.int(3) }), op.build)).to.deep.equal({
      instanceOf: "shop.Bag",
      state: new Map([["apples", 3]]),
    });
  });

  it("takes keys for keys, whatever they are in JavaScript", () => {
    const polluted = read(dict({ __proto__x: op.int(1), constructor: op.int(2), toString: op.int(3) }));
    expect(polluted).to.be.instanceOf(Map).and.have.property("size", 3);
    expect(read([...op.emptyDict, ...op.mark, ...op.text("__proto__"), ...op.int(1), ...op.setItems])).to.deep.equal(
      new Map([["__proto__", 1]]),
    );
    expect(({} as Record<string, unknown>)["1"]).to.equal(undefined);
  });

  it("keeps values under any number without making room for those below", () => {
    expect(read(op.int(5), [0x72, 0xff, 0xff, 0xff, 0xff], op.none, [0x6a, 0xff, 0xff, 0xff, 0xff])).to.equal(5);
  });

  const refused: readonly (readonly [string, Uint8Array, string])[] = [
    [
      "a call of os.system",
      pickle(op.name("posix", "system"), tuple(op.text("true")), op.reduce),
      'it refers to "posix.system", which is not allowed',
    ],
    ["a call of what is no name", pickle(op.text("eval"), op.emptyTuple, op.reduce), "expected a function"],
    ["a call with arguments that are none", pickle(op.name("shop", "Bag"), op.none, op.reduce), "expected a function"],
    ["an opcode of an extension", pickle([0x82, 1]), "opcode 0x82 is not supported"],
    ["bytes of a negative length, read for ever elsewhere", pickle([0x42, 0xfb, 0xff, 0xff, 0xff]), "opcode 0x42"],
    ["another protocol", Uint8Array.of(0x80, 6, 0x2e), "expected a protocol from 2 to 5"],
    ["a text longer than the file", pickle([0x58, 0xff, 0xff, 0xff, 0xff]), "expected 4294967295 more bytes"],
    ["a name without an end", pickle(op.none, [0x63, 0x61]), "expected the end of a line"],
    ["an integer of 255 bytes", pickle([0x8a, 255]), "expected an integer of at most 16 bytes"],
    ["no stop", Uint8Array.of(0x80, 2, 0x4e), "expected 1 more bytes, 0 are left"],
    ["nothing to stop with", pickle(), "expected a value on the stack"],
    ["a tuple without a mark", pickle(op.none, op.tuple), "expected a mark"],
    ["what nobody kept", pickle([0x68, 7]), "the memo has no entry 7"],
    ["items for a dictionary that is none", pickle(op.none, op.mark, op.none, op.none, op.setItems), "a dictionary"],
    ["a key without a value", pickle(op.emptyDict, op.mark, op.none, op.setItems), "expected a dictionary, keys and"],
    ["items for a list that is none", pickle(op.none, op.mark, op.none, op.appends), "expected a list"],
    ["a state for a list", pickle(op.emptyList, op.none, op.build), "expected an object to give a state"],
    ["a persistent id where there are none", pickle(op.none, op.persistent), "expected no persistent id"],
    ["text that is no text", pickle([0x58, 1, 0, 0, 0, 0xff]), "not valid"],
    ["a tuple of millions", many(1e6, op.mark.concat()), "more than 300000 steps"],
    ["dictionaries without end", many(1e6, op.emptyDict.concat()), "more than 300000 steps"],
    ["lists in lists without end", many(1e6, [0x5d, 0x28]), "more than 300000 steps"],
  ];
  for (const [what, bytes, message] of refused) {
    it(`refuses ${what}`, () => {
      expect(() => readPickle(bytes, rules)).to.throw(message);
    });
  }

  it("reads deep nesting without going deep itself", () => {
    const DEPTH = 50_000;
    const nested = Uint8Array.from([
      ...many(DEPTH, op.emptyList.concat()),
      ...many(DEPTH - 1, op.append.concat()),
      0x2e,
    ]);
    let { value } = readPickle(nested, rules);
    let depth = 0;
    for (; Array.isArray(value); value = value[0]) depth++;
    expect(depth).to.equal(DEPTH);
  });

  it("reads or refuses any bytes, damaged ones too, soon", () => {
    const opcodes = fc.constantFrom(...Object.values(op).flatMap((part) => (typeof part === "function" ? [] : part)));
    fc.assert(
      fc.property(fc.array(fc.oneof(opcodes, fc.nat(255)), { maxLength: 200 }), (bytes) => {
        try {
          readPickle(Uint8Array.from(bytes), rules);
        } catch (error) {
          expect(error).to.be.instanceOf(Error).and.not.instanceOf(RangeError);
        }
      }),
      { numRuns: fuzzRuns(2000), seed: 1 },
    );
  });
});
