import { expect } from "chai";
import fc from "fast-check";
import { double, float, integer, concatenate, message, stringField } from "../../../dino/files/protobuf.js";
import { encodeOnnx } from "../../../dino/weights/export/onnx.js";
import { floatOf, integerOf, messages, readMessage, textOf } from "../../support/protobuf-reader.js";

describe("protocol buffers", () => {
  it("come back as they were written", () => {
    const field = fc.integer({ min: 1, max: 2 ** 29 - 2 });
    const number = fc.record({ whole: fc.maxSafeInteger(), half: fc.double(), single: fc.float() });
    fc.assert(
      fc.property(field, number, fc.string({ unit: "binary" }), (at, { whole, half, single }, words) => {
        const last = message(at + 1, stringField(1, words), double(2, half), float(3, single));
        const [outer] = messages(readMessage(concatenate(message(at, integer(at, whole), last))), at);
        expect(integerOf(outer!, at)).to.equal(whole);
        const [inner] = messages(outer!, at + 1);
        expect(textOf(inner!, 1)).to.equal(words);
        expect([floatOf(inner!, 2), floatOf(inner!, 3)]).to.deep.equal([half, single]);
      }),
    );
  });

  it("are refused as a model that is larger than they may be", () => {
    const values = new Float32Array(2 ** 24); // 64 MiB, once in memory and 32 times in the model
    const tensors = Array.from({ length: 32 }, (_, i) => ({ name: `${i}`, shape: [2 ** 24], values }));
    const nothing = { nodes: [], inputs: [], outputs: [] };
    expect(() => encodeOnnx({ ...nothing, tensors })).to.throw(/^onnx: the model takes 21\d+ bytes.*safetensors/);
  });
});
