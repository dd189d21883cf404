import { expect } from "chai";
import { joinParts } from "../../../engine/core/submit.js";
import { input, record, scale, type Tensor } from "../../../engine/index.js";
import { withMethods } from "../../support/changed-device.js";
import { testDevice } from "../../support/device.js";

describe("submission in bounded command buffers", () => {
  /** Parts of `length` kernels that take `ms` each. */
  const parts = (count: number, length: number, ms: number) =>
    Array.from({ length: count }, (_, part) => ({
      kernels: Array.from({ length }, (_, i) => part * length + i),
      ms,
    }));
  const lengths = (joined: readonly (readonly number[])[]) => joined.map((part) => part.length);

  it("joins short parts, up to 128 kernels", () => {
    const joined = joinParts(parts(20, 16, 0.1));
    expect(lengths(joined)).to.deep.equal([128, 128, 64]);
    expect(joined.flat()).to.deep.equal(Array.from({ length: 320 }, (_, i) => i));
  });

  it("joins parts up to 250 ms", () => {
    expect(lengths(joinParts(parts(6, 16, 120)))).to.deep.equal([32, 32, 32]);
  });

  it("splits a part that takes longer, to single kernels at most", () => {
    const joined = joinParts(parts(1, 16, 1000));
    expect(lengths(joined)).to.deep.equal([4, 4, 4, 4]);
    expect(joined.flat()).to.deep.equal(Array.from({ length: 16 }, (_, i) => i));
    expect(lengths(joinParts(parts(1, 3, 60_000)))).to.deep.equal([1, 1, 1]);
  });

  it("submits a program in small parts at first and in larger ones later, with the same result", async () => {
    let submits = 0;
    const real = await testDevice();
    const device = withMethods(real, {
      createCommandEncoder(descriptor) {
        submits++; // each buffer is submitted alone
        return real.gpu.createCommandEncoder(descriptor);
      },
    });
    using x = input(device, [4]);
    x.write([1, 2, 3, 4]);
    using program = await record(device, () => {
      let y: Tensor = x;
      for (let i = 0; i < 200; i++) y = scale(y, i % 2 === 0 ? 2 : 0.5);
      return { y: scale(y, 3) };
    });
    await program.run();
    const first = submits;
    await program.run();
    expect({ first, later: submits - first }).to.deep.equal({ first: Math.ceil(201 / 16), later: 2 });
    expect([...(await program.read("y"))]).to.deep.equal([3, 6, 9, 12]);
  });
});
