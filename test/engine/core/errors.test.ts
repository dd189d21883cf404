import { expect } from "chai";
import { openDevice } from "../../../engine/adapters/node.js";
import type { Device } from "../../../engine/core/device.js";
import { grid, kernel } from "../../../engine/core/kernel.js";
import { transient } from "../../../engine/core/recording.js";
import {
  add,
  attention,
  attentionProbabilities,
  cast,
  concat,
  copy,
  createParams,
  crossEntropy,
  differentiable,
  distillation,
  download,
  dropPath,
  evaluate,
  fill,
  gelu,
  gem,
  gradients,
  input,
  l2Normalize,
  labelRank,
  max,
  layernorm,
  layoutOf,
  linear,
  logSoftmax,
  matmul,
  mul,
  patches,
  record,
  repeat,
  reshape,
  scale,
  scaleRows,
  slice,
  softmax,
  sum,
  sumLeading,
  type Tensor,
  updateCenter,
  upload,
  weightNorm,
} from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";
import { rejectedWith, rejection } from "../../support/rejection.js";

/** A tensor of a shape, only to be refused. */
const t = (...shape: number[]): Tensor => transient(shape);

const shapeMistakes: readonly (readonly [message: string, mistake: () => unknown])[] = [
  ["add: b [3] is not the end of a [2, 4]", () => add(t(2, 4), t(3))],
  ["add: b [2, 4] is not the end of a [4]", () => add(t(4), t(2, 4))],
  ["mul: b [2] is not the end of a [2, 4]", () => mul(t(2, 4), t(2))],
  ["softmax x: expected [...rows, cols], got []", () => softmax(t())],
  ["logSoftmax x: expected [...rows, cols], got []", () => logSoftmax(t())],
  ["crossEntropy: expected x [3, ..., classes] for 3 labels, got [4, 10]", () => crossEntropy(t(4, 10), t(3))],
  ["crossEntropy labels: expected u32, got f32", () => crossEntropy(t(4, 10), t(4))],
  ["labelRank x: expected [...rows, classes], got []", () => labelRank(t(), t(1))],
  ["gem x: expected [batch, tokens, cols], got [2, 3]", () => gem(t(2, 3), { power: 4 })],
  ["gem power: expected more than 0, got 0", () => gem(t(1, 2, 3), { power: 0 })],
  ["largest x: expected [...rows, cols], got []", () => max(t())],
  ["l2Normalize x: expected [...rows, cols], got []", () => l2Normalize(t())],
  ["layernorm x: expected [...rows, cols], got []", () => layernorm(t(), t(1), t(1))],
  ["layernorm gain: expected [5], got [4]", () => layernorm(t(2, 5), t(4), t(5))],
  ["layernorm bias: expected [5], got [1, 5]", () => layernorm(t(2, 5), t(5), t(1, 5))],
  ["scaleRows factors: expected [4], got [3]", () => scaleRows(t(4, 2), t(3))],
  ["scaleRows factors: expected [4, 1], got [4, 2]", () => scaleRows(t(4, 2), t(4, 2))],
  ["matmul a: expected [rows, cols], got [4]", () => matmul(t(4), t(4, 2))],
  ["matmul b: expected [rows, cols], got [1, 4, 2]", () => matmul(t(3, 4), t(1, 4, 2))],
  ["matmul b: expected [batch, rows, cols], got [4, 2]", () => matmul(t(1, 3, 4), t(4, 2))],
  ["matmul: a [64, 192] and b [196, 576] differ in their inner axis (192, 196)", () => matmul(t(64, 192), t(196, 576))],
  [
    "matmul: a [4, 3] and b [2, 5] differ in their inner axis (4, 5)",
    () => matmul(t(4, 3), t(2, 5), { a: true, b: true }),
  ],
  ["matmul: a [2, 3, 4] and b [3, 4, 5] differ in their batch (2, 3)", () => matmul(t(2, 3, 4), t(3, 4, 5))],
  ["linear x: expected [...rows, cols], got []", () => linear(t(), t(2, 3))],
  ["linear weight: expected [out, in], got [3]", () => linear(t(2, 3), t(3))],
  ["linear: expected x [..., 4] for a weight [5, 4], got [2, 3]", () => linear(t(2, 3), t(5, 4))],
  ["linear bias: expected [5], got [4]", () => linear(t(2, 3), t(5, 3), t(4))],
  ["linear bias: expected [out], got [1, 5]", () => linear(t(2, 3), t(5, 3), t(1, 5))],
  ["scaleRows factors: expected [5], got [4]", () => weightNorm(t(5, 3), t(4))],
  ["attention qkv: expected [batch, tokens, width], got [5, 24]", () => attention(t(5, 24), 2)],
  ["attention: 3 heads do not divide a third of 24 channels", () => attention(t(1, 5, 24), 3)],
  ["attention: expected heads of at most 128 channels, got 192", () => attention(t(1, 5, 576), 1)],
  ["attention qkv: expected [batch, tokens, width], got [5, 24]", () => attentionProbabilities(t(5, 24), 2)],
  ["slice x: 2..9 of axis 1 leaves [4, 7]", () => slice(t(4, 7), 1, 2, 7)],
  ["slice x: 0..1 of axis 2 leaves [4, 7]", () => slice(t(4, 7), 2, 0, 1)],
  ["slice x: -1..1 of axis 0 leaves [4, 7]", () => slice(t(4, 7), 0, -1, 2)],
  ["slice x: 1..1 of axis 0 leaves [4, 7]", () => slice(t(4, 7), 0, 1, 0)],
  ["concat: no axis 0 in 0 tensors", () => concat([], 0)],
  ["concat: no axis 2 in 1 tensors", () => concat([t(3, 5)], 2)],
  ["concat: [3, 5] and [3, 6] differ beyond axis 0", () => concat([t(3, 5), t(3, 6)], 0)],
  ["concat: [3, 5] and [3, 5, 1] differ beyond axis 0", () => concat([t(3, 5), t(3, 5, 1)], 0)],
  ["patches images: expected [batch, channels, rows, cols], got [3, 8, 8]", () => patches(t(3, 8, 8), 4)],
  ["patches: images of 8 x 3 hold no whole patch of 4", () => patches(t(1, 3, 8, 3), 4)],
  ["dropPath: expected a probability in [0, 1), got 1", () => dropPath(t(2, 3), t(2), 1)],
  ["dropPath uniform: expected [2], got [3]", () => dropPath(t(2, 3), t(3), 0.1)],
  [
    "distillation: expected student [crops * batch, cols] and teacher [2 * batch, cols] with at least 2 crops, got [5, 8] and [4, 8]",
    () => distillation(t(5, 8), t(4, 8), t(8), { studentTemperature: 0.1, teacherTemperature: t() }),
  ],
  [
    "distillation teacher: expected 8 columns, got 9",
    () => distillation(t(8, 8), t(4, 9), t(8), { studentTemperature: 0.1, teacherTemperature: t() }),
  ],
  [
    "distillation teacherTemperature: expected [], got [1]",
    () => distillation(t(8, 8), t(4, 8), t(8), { studentTemperature: 0.1, teacherTemperature: t(1) }),
  ],
  [
    "distillation student weight: expected [cols, 3], got [8, 4]",
    () =>
      distillation({ x: t(8, 3), weight: t(8, 4) }, t(4, 8), t(8), { studentTemperature: 1, teacherTemperature: t() }),
  ],
  [
    "distillation: expected chunks of a multiple of 64 columns, got 100",
    () => {
      const [student, teacher] = [t(8, 3), t(4, 3)].map((x) => ({ x, weight: t(300, 3) }));
      const options = { studentTemperature: 1, teacherTemperature: t(), chunkCols: 100 };
      distillation(student!, teacher!, t(300), options);
    },
  ],
  ["updateCenter center: expected [8], got [9]", () => updateCenter(t(9), t(8), 0.9)],
  ["repeat x: [7] is not the end of [40, 6]", () => repeat(t(7), [40, 6])],
  ["repeat x: [40, 6] is not the end of [6]", () => repeat(t(40, 6), [6])],
  ["sumLeading shape: [7] is not the end of [40, 6]", () => sumLeading(t(40, 6), [7])],
  ["copy: x [4] and out [2, 3] differ in their number of elements", () => copy(t(4), t(2, 3))],
  ["reshape: [2, 3] has 6 elements, [4, 2] has 8", () => reshape(t(2, 3), [4, 2])],
  ["reshape: every axis must be a positive whole number, got [-1, 3]", () => reshape(t(2, 3), [-1, 3])],
  ["transient: every axis must be a positive whole number, got [0]", () => fill([0], 1)],
  ["transient: every axis must be a positive whole number, got [2.5]", () => fill([2.5], 1)],
  ["gradients dy: expected [], got [1]", () => gradients(sum(t(3)), fill([1], 1), [])],
  ["fill: constant VALUE is NaN", () => fill([1], NaN)],
  ["scale: constant FACTOR is Infinity", () => scale(t(3), Infinity)],
];

/** What the test shaders below share. */
const bindings = `
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
`;
const main = "@compute @workgroup_size(1) fn main() { y[0] = x[0]; }";

describe("errors", () => {
  let device: Device;
  before(async () => {
    device = await testDevice();
  });

  describe("name the operation, what it expected and what it got", () => {
    for (const [message, mistake] of shapeMistakes) {
      it(message, async () => {
        await evaluate(device, () => {
          let caught: Error | undefined;
          try {
            mistake();
          } catch (error) {
            caught = error as Error;
          }
          expect(caught?.message).to.equal(message);
          expect(caught?.stack, "the caller's frame").to.include("errors.test.ts");
          return {};
        });
      });
    }
  });

  it("carry the caller's frame through record()", async () => {
    function modelOfTheCaller() {
      return { y: softmax(t()) };
    }
    expect((await rejectedWith(record(device, modelOfTheCaller))).stack).to.include("modelOfTheCaller");
  });

  it("refuse operations outside a recording", () => {
    using x = input(device, [3]);
    for (const [what, operation] of [
      ["gelu", gelu],
      ["scale", (y: Tensor) => scale(y, 2)],
      ["reshape", (y: Tensor) => reshape(y, [1, 3])],
      ["gradients", (y: Tensor) => gradients(y, y, [y])],
    ] as const)
      expect(() => operation(x)).to.throw(`${what}: operations run inside record() or evaluate() only`);
  });

  it("refuse f16 on a device that has none", async () => {
    const without = { ...device, features: new Set<string>() };
    expect(await rejection(record(without, () => ({ y: cast(fill([3], 1), "f16") })))).to.equal(
      `f16: ${device.name} has no shader-f16; compute in f32 there`,
    );
  });

  it("refuse to read f16, and say how", async function () {
    if (!device.features.has("shader-f16")) this.skip(); // SwiftShader has none
    expect(await rejection(evaluate(device, () => ({ y: cast(fill([3], 1), "f16") })))).to.equal(
      'read y: expected f32, got f16; return cast(x, "f32") instead',
    );
  });

  it("refuse a gradient in another precision than its tensor's", async function () {
    if (!device.features.has("shader-f16")) this.skip(); // SwiftShader has none
    using x = input(device, [3]);
    const wrong = record(device, () => {
      const y = differentiable(transient([3]), [x], (dy) => [cast(dy, "f16")]);
      return { dx: gradients(y, fill([3], 1), [x])[0]! };
    });
    expect(await rejection(wrong)).to.equal("gradients: expected a gradient in f32, got f16");
  });

  it("refuse a recording inside another one, at once, and leave the next one alone", async () => {
    const message = "record: called inside another record(); recordings do not nest";
    for (const inner of [() => record(device, () => ({})), () => evaluate(device, () => ({}))]) {
      const nested = record(device, () => {
        void inner();
        return {};
      });
      expect(await rejection(nested)).to.equal(message);
    }
    expect([...(await evaluate(device, () => ({ one: fill([1], 1) }))).one]).to.deep.equal([1]);
  });

  it("refuse a tensor of another device", async () => {
    using other = await openDevice({ prefer: "null" });
    using x = input(other, [3], { label: "images" });
    expect(await rejection(record(device, () => ({ y: scale(x, 2) })))).to.equal(
      "scale: x (images) belongs to another device",
    );
  });

  it("refuse a dispatch that reads and writes one buffer", async () => {
    using params = createParams(
      device,
      layoutOf(["a", "b"].map((name) => ({ name, shape: [3], trainable: true }))),
      "p",
    );
    const [a, b] = [params.get("a"), params.get("b")];
    expect(await rejection(record(device, () => (copy(a, b), {})))).to.equal(
      "copy: x and out lie in one buffer (p b), and out is written; copy one of them first",
    );
    const twice = await rejection(
      record(device, () => {
        const y = transient([3]);
        copy(a, y);
        copy(reshape(y, [1, 3]), y);
        return {};
      }),
    );
    expect(twice).to.equal("copy: x and out lie in one buffer (copy out), and out is written; copy one of them first");
  });

  it("refuse a tensor wider than a binding", async () => {
    const limit = device.limits.maxStorageBufferBindingSize;
    const elements = limit / 4 + 1;
    expect(await rejection(record(device, () => ({ y: scale(t(elements), 2) })))).to.equal(
      `scale: x [${elements}] needs ${limit + 4} bytes in one binding; ${device.name} binds at most ${limit}. ` +
        "Use a smaller batch, image or number of prototypes",
    );
  });

  it("refuse a tensor larger than a buffer", () => {
    const limit = device.limits.maxBufferSize;
    const elements = Math.floor(limit / 4) + 64;
    const shape = [elements];
    const message = (label: string, bytes: number) =>
      `out of memory: ${label} needs ${bytes} bytes in one buffer; ${device.name} allows ${limit}`;
    expect(() => input(device, shape, { label: "images" })).to.throw(message("images", 4 * elements));
    const layout = layoutOf([{ name: "a", shape, trainable: true }]);
    expect(() => createParams(device, layout, "student")).to.throw(message("student", 4 * layout.size));
    expect(() => input(device, [0])).to.throw("input: every axis must be a positive whole number, got [0]");
  });

  it("refuse values of the wrong number, in the wrong place or of the wrong type", async () => {
    using x = input(device, [2, 3], { label: "images" });
    expect(() => x.write([1, 2, 3, 4, 5])).to.throw("images: [2, 3] takes 6 values, got 5");
    expect(() => x.write(new Float32Array(7))).to.throw("images: [2, 3] takes 6 values, got 7");
    let inside: Tensor = x;
    await evaluate(device, () => ({ y: (inside = scale(x, 2)) }));
    expect(() => upload(inside, [1])).to.throw("upload: scale out lives inside a recording; write to an input instead");
    expect(await rejection(download(inside))).to.equal(
      "download: scale out lives inside a recording; return it from record()",
    );
    using ids = input(device, [3], { dtype: "u32", label: "ids" });
    expect(await rejection(record(device, () => ({ y: scale(ids, 2) })))).to.equal(
      "scale: x holds u32, the kernel reads f32",
    );
  });

  describe("in shaders", () => {
    /** Records one dispatch of a kernel whose file and includes are given, and tells what is said of it. */
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

  it("refuse more bindings than the adapter allows", async () => {
    const names = Array.from({ length: device.limits.maxStorageBuffersPerShaderStage + 1 }, (_, i) => `x${i}`);
    const greedy = kernel("test-greedy", { reads: names, writes: [], constants: [] });
    const message = await rejection(
      record(device, () => (greedy(Object.fromEntries(names.map((name) => [name, t(1)])), {}, grid(1)), {})),
    );
    expect(message).to.equal(
      `test-greedy: binds ${names.length} buffers; ${device.name} allows ${names.length - 1} a kernel`,
    );
  });

  it("refuse a grid that leaves WebGPU's", async () => {
    const wide = kernel("test-wide", { reads: [], writes: ["y"], constants: [] });
    for (const groups of [0, 65536, 1.5]) {
      const message = await rejection(record(device, () => (wide({ y: t(1) }, {}, [groups, 1, 1]), {})));
      expect(message).to.equal(`test-wide: grid [${groups}, 1, 1] leaves 1..65535 workgroups an axis`);
    }
  });

  describe("of a device that is lost", () => {
    for (const [what, lose, message] of [
      ["destroyed by somebody", (lost: Device) => lost.gpu.destroy(), /the device was lost \(destroyed\)/],
      ["disposed of", (lost: Device) => lost[Symbol.dispose](), /the device was disposed/],
    ] as const) {
      it(`come from every use after it was ${what}`, async () => {
        const lost = await openDevice({ prefer: "null" });
        const x = input(lost, [3]);
        const params = createParams(lost, layoutOf([{ name: "a", shape: [3], trainable: true }]), "p");
        const program = await record(lost, () => ({ y: scale(x, 2) }));
        for (let run = 0; run < 4; run++) await program.run();
        await program.read("y");
        lose(lost);
        await lost.gpu.lost;
        for (const use of [
          () => program.run(),
          () => program.read("y"),
          () => program.profile(),
          () => program.check(),
          () => record(lost, () => ({ y: scale(x, 2) })),
          () => evaluate(lost, () => ({ y: scale(x, 2) })),
          () => download(x),
          () => params.read(),
        ])
          expect(await rejection(use())).to.match(message);
        for (const use of [
          () => x.write([1, 2, 3]),
          () => input(lost, [3]),
          () => params.write(new Map([["a", [1, 2, 3]]])),
        ])
          expect(use).to.throw(message);
        for (const owned of [program, x, params]) owned[Symbol.dispose]();
      });

      it(`come from a run under way when it is ${what}`, async () => {
        const lost = await openDevice({ prefer: "null" });
        using x = input(lost, [3]);
        const program = await record(lost, () => ({ y: scale(x, 2) }));
        const runs = [1, 2, 3, 4, 5].map(() => program.run());
        const reading = program.read("y");
        lose(lost);
        const settled = await Promise.allSettled([...runs, reading]);
        expect(settled.map(({ status }) => status)).to.include("rejected");
        for (const outcome of settled)
          if (outcome.status === "rejected") expect((outcome.reason as Error).message).to.match(message);
        await lost.gpu.lost;
        expect(await rejection(program.run())).to.match(message);
      });
    }
  });

  it("of an uncaptured WebGPU error come with the next run", async () => {
    const broken = await openDevice({ prefer: "null" });
    using x = input(broken, [3]);
    using program = await record(broken, () => ({ y: scale(x, 2) }));
    broken.gpu.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
    await broken.gpu.queue.onSubmittedWorkDone();
    expect(await rejection(program.run())).to.include("MapRead");
    broken[Symbol.dispose]();
  });
});
