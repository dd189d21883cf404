import { expect } from "chai";
import fc from "fast-check";
import { encodeNpy, encodeNpyBytes, type NpyArray, parseNpy, parseNpyBytes } from "../../../dino/files/npy.js";

/** numpy.save of float32 [[1, 2, 3], [4, 5, 6]] begins so, by NumPy 2.4. */
const numpyHeader = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";

const text = (file: Uint8Array): string => new TextDecoder("latin1").decode(file);
const withHeader = (header: string, values = 0): Uint8Array => {
  const file = new Uint8Array(10 + header.length + 4 * values);
  file.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  file.set(new TextEncoder().encode(header), 10);
  return file;
};

describe("npy", () => {
  it("writes NumPy's header, padded to 64 bytes", () => {
    const file = encodeNpy({ values: Float32Array.of(1, 2, 3, 4, 5, 6), shape: [2, 3] });
    expect(text(file.subarray(1, 6))).to.equal("NUMPY");
    expect(text(file.subarray(10, 128))).to.equal(`${numpyHeader.padEnd(117)}\n`);
    expect(file.length).to.equal(128 + 24);
    expect(text(encodeNpy({ values: Int32Array.of(7), shape: [1] }))).to.contain(
      "'<i4', 'fortran_order': False, 'shape': (1,), }",
    );
  });

  it("reads what it wrote, of any shape and alignment", () => {
    const shape = fc.oneof(fc.tuple(fc.nat(9)), fc.tuple(fc.nat(9), fc.nat(9)));
    fc.assert(
      fc.property(shape, fc.boolean(), fc.nat(3), (axes, whole, shift) => {
        const length = axes.reduce((product, axis) => product * axis, 1);
        const numbers = Array.from({ length }, (_, i) => i - 3.5);
        const given: NpyArray = { values: whole ? Int32Array.from(numbers) : Float32Array.from(numbers), shape: axes };
        const file = encodeNpy(given);
        const shifted = new Uint8Array(file.length + shift);
        shifted.set(file, shift);
        expect(parseNpy(shifted.subarray(shift))).to.deep.equal(given);
      }),
    );
  });

  it("does not copy values that lie at a multiple of four bytes", () => {
    const file = encodeNpy({ values: Float32Array.of(1, 2, 3), shape: [3] });
    expect(parseNpy(file).values.buffer).to.equal(file.buffer);
  });

  it("writes and reads bytes of three axes as NumPy does, and no others", () => {
    const bytes = { values: Uint8Array.of(1, 2, 3, 4, 5, 255), shape: [1, 2, 3] } as const;
    const file = encodeNpyBytes(bytes);
    const expected = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 3), }";
    expect(text(file.subarray(10, 128))).to.equal(`${expected.padEnd(117)}\n`);
    expect(parseNpyBytes(file)).to.deep.equal(bytes);
    const damaged = (from: string, to: string): Uint8Array => {
      const changed = file.slice();
      changed.set(new TextEncoder().encode(to), text(file).indexOf(from));
      return changed;
    };
    expect(() => parseNpyBytes(damaged("|u1", "<f4"))).to.throw("npy: expected '|u1', got '<f4'");
    expect(() => parseNpyBytes(damaged("1, 2, 3", "1, 6   "))).to.throw("npy: the header is damaged");
    expect(() => parseNpyBytes(damaged("(1, 2, 3)", "(1, 0006)"))).to.throw(
      "expected [rows, cols, channels], got [1, 6]",
    );
    expect(() => parseNpyBytes(file.subarray(0, -1))).to.throw("takes 6 bytes, but 5 follow");
    expect(() => parseNpy(file)).to.throw("expected '<f4' or '<i4', got '|u1'");
    expect(() => encodeNpyBytes({ ...bytes, shape: [1, 2, 4] })).to.throw("holds 8 values, got 6");
  });

  it("refuses what it cannot read, and what does not fit", () => {
    const header = (descr: string, fortran: string, shape: string): string =>
      `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': (${shape}), }\n`;
    expect(() => parseNpy(new Uint8Array(9))).to.throw("npy: this is no .npy file of version 1.0");
    expect(() => parseNpy(withHeader("{}\n"))).to.throw("npy: the header is damaged");
    expect(() => parseNpy(withHeader(header("<f8", "False", "1,"), 2))).to.throw("got '<f8'; convert it with astype");
    expect(() => parseNpy(withHeader(header("<f4", "True", "1,"), 1))).to.throw("expected row-major values");
    expect(() => parseNpy(withHeader(header("<f4", "False", ""), 1))).to.throw(
      "expected [length] or [rows, cols], got []",
    );
    expect(() => parseNpy(withHeader(header("<f4", "False", "1, 1, 1"), 1))).to.throw("got [1, 1, 1]");
    expect(() => parseNpy(withHeader(header("<f4", "False", "99999999, 99999999"), 1))).to.throw(
      "but 4 follow the header",
    );
    const file = encodeNpy({ values: Float32Array.of(1, 2), shape: [2] });
    expect(() => parseNpy(file.subarray(0, 40))).to.throw("the header ends at byte 128 of 40");
    expect(() => parseNpy(file.subarray(0, 132))).to.throw("takes 8 bytes, but 4 follow");
    expect(() => encodeNpy({ values: Float32Array.of(1, 2), shape: [3] })).to.throw("shape [3] holds 3 values, got 2");
  });
});
