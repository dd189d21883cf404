import { expect } from "chai";
import type { Device } from "../../../engine/core/device.js";
import { grid, kernel } from "../../../engine/core/kernel.js";
import { transient } from "../../../engine/core/recording.js";
import { input, record } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { rejection } from "../../support/rejection.js";

/** Bindings that the test shaders share. */
const bindings = `
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
`;
const main = "@compute @workgroup_size(1) fn main() { y[0] = x[0]; }";

describe("errors in shaders", () => {
  let device: Device;
  before(async () => {
    device = await testDevice();
  });

  /** Records one dispatch of a kernel with the given files, and returns the error message. */
  const refusal = async (
    files: Readonly<Record<string, string>>,
    constants: Readonly<Record<string, number>> = {},
  ): Promise<string> => {
    const shaders = (name: string) => files[name] ?? device.shaders(name);
    const [file] = Object.keys(files);
    const custom: Device = { ...device, shaders };
    const dispatch = kernel(file!, { reads: ["x"], writes: ["y"], constants: Object.keys(constants) });
    using x = input(custom, [3]);
    const message = await rejection(
      record(custom, () => {
        const y = transient([3]);
        dispatch({ x, y }, constants, grid(1));
        return { y };
      }),
    );
    expect(device.failure(), "the device goes on").to.equal(undefined);
    return message;
  };

  it("a syntax error has its file, line and column", async () => {
    const code = `// y = x.\n${bindings}\n@compute @workgroup_size(1) fn main() {\n  y[0] = x[0]\n}\n`;
    expect(await refusal({ "test-syntax": code })).to.match(/^test-syntax\.wgsl:8:1 expected ';'/);
  });

  it("so does a type error", async () => {
    const code = `${bindings}@compute @workgroup_size(1) fn main() {\n  y[0] = 1u + x[0];\n}\n`;
    expect(await refusal({ "test-type": code })).to.match(
      /^test-type\.wgsl:5:10 no matching overload for 'operator \+ \(u32, f32\)'/,
    );
  });

  it("an error in an included file is the included file's", async () => {
    const files = {
      "test-including": `// include test-fine\n// include test-included\n${bindings}${main}\n`,
      "test-fine": "fn fine() -> f32 { return 1.0; }\n",
      "test-included": "// Wrong on its second line.\nfn wrong() -> f32 { return 1u; }",
    };
    expect(await refusal(files)).to.match(/^test-included\.wgsl:2:\d+ /);
  });

  it("files that include each other are included once", async () => {
    const files = {
      "test-circle": `// include test-arc\n${bindings}@compute @workgroup_size(1) fn main() { y[0] = arc() + 1u; }`,
      "test-arc": "// include test-circle\n// include test-arc\nfn arc() -> f32 { return 1.0; }",
    };
    expect(await refusal(files)).to.match(/^test-circle\.wgsl:5:\d+ /);
  });

  it("a missing include says who wants it and what there is", async () => {
    expect(await refusal({ "test-missing": `// include nowhere\n${bindings}${main}` })).to.match(
      /^test-missing\.wgsl includes nowhere: shaders\/nowhere\.wgsl does not exist; there are .*\bsoftmax\b/,
    );
  });

  it("a kernel without a file is named with what there is", async () => {
    const absent = kernel("test-absent", { reads: [], writes: ["y"], constants: [] });
    const message = await rejection(
      record(device, () => {
        const y = transient([1]);
        absent({ y }, {}, grid(1));
        return { y };
      }),
    );
    expect(message).to.match(/^shaders\/test-absent\.wgsl does not exist; there are .*\bsoftmax\b/);
  });

  it("a declaration that disagrees with the file is shown beside it", async () => {
    const renamed = bindings.replace("y:", "out:") + main.replace("y[0]", "out[0]");
    expect(await refusal({ "test-renamed": renamed })).to.equal(
      "test-renamed.wgsl binds [read x, read_write out], but its declaration says [read x, read_write y]",
    );
    expect(await refusal({ "test-access": bindings.replace("read_write", "read") + main })).to.equal(
      "test-access.wgsl binds [read x, read y], but its declaration says [read x, read_write y]",
    );
  });

  it("a constant that the file does not have, or has and is not given, is told with what was given", async () => {
    const message = await refusal({ "test-unknown-constant": bindings + main }, { COLS: 3 });
    expect(message)
      .to.match(/^test-unknown-constant\.wgsl with COLS = 3: /)
      .and.to.include("COLS");
    const needy = `override ROWS: u32;\n${bindings}@compute @workgroup_size(1) fn main() { y[ROWS] = x[0]; }`;
    const without = await refusal({ "test-missing-constant": needy });
    expect(without)
      .to.match(/^test-missing-constant\.wgsl with no constants: /)
      .and.to.include("ROWS");
    const negative = await refusal({ "test-negative-constant": needy }, { ROWS: -1 });
    expect(negative).to.match(/^test-negative-constant\.wgsl with ROWS = -1: /);
  });

  it("a file without main is named", async () => {
    const message = await refusal({ "test-no-main": bindings + main.replace("main", "start") });
    expect(message).to.match(/^test-no-main\.wgsl with no constants: /);
  });
});
