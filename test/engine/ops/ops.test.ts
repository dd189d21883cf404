import { testDevice } from "../../support/device.js";
import { checkOp, type OpRow } from "./check-op.js";
import { halfRows, isLarge, matrixRows, rows } from "./op-table.js";
import { withMatricesOf8Played, withTensorCoresPlayed } from "./tensor-cores.js";

/** Large rows run on one set of kernels in `npm test`, on every one in `npm run test:all`. */
const longTag = (row: OpRow): string => (isLarge(row) ? " @long" : "");

const isProduct = ({ op }: OpRow): boolean => /^(matmul|linear)/.test(op);

describe("operations agree with their float64 references", () => {
  describe("kernels made for a CPU", () => {
    for (const row of rows) it(row.op, async () => checkOp(row, await testDevice({ kernels: "cpu" })));
  });
  describe("kernels made for a GPU", () => {
    for (const row of rows) it(row.op + longTag(row), async () => checkOp(row, await testDevice({ kernels: "gpu" })));
  });
  for (const [kernels, differing] of [
    ["cpu", /^(matmul|linear|attention|softmax|layernorm|distillation|koleo)/],
    ["gpu", /^(softmax|layernorm|addLayernorm|sum|batchNorm|koleo(?!, more groups))/],
  ] as const) {
    describe(`kernels made for a ${kernels.toUpperCase()} without subgroups`, () => {
      for (const row of rows.filter(({ op }) => differing.test(op)))
        it(row.op + longTag(row), async () => checkOp(row, await testDevice({ kernels, without: ["subgroups"] })));
    });
  }
  describe("matrices of 8 x 8 played by subgroups of 32", () => {
    for (const row of rows.filter((each) => isProduct(each) && !isLarge(each)))
      it(row.op, async () => checkOp(row, withMatricesOf8Played(await testDevice({ kernels: "gpu" }))));
  });
  describe("in f16", () => {
    before(async function () {
      if (!(await testDevice()).features.has("shader-f16")) this.skip(); // SwiftShader has none
    });
    for (const kernels of ["cpu", "gpu"] as const) {
      for (const row of [...halfRows, ...matrixRows]) {
        it(`${row.op}, beside kernels made for a ${kernels.toUpperCase()}`, async () =>
          checkOp(row, await testDevice({ kernels })));
      }
    }

    for (const width of [32, 64] as const) {
      describe(`tensor cores played by subgroups of ${width}`, () => {
        for (const row of matrixRows)
          it(row.op, async () => checkOp(row, withTensorCoresPlayed(await testDevice(), width)));
      });
    }

    describe("matrices of 8 x 8 played by subgroups of 32", () => {
      for (const row of matrixRows.filter(isProduct))
        it(row.op, async () => checkOp(row, withMatricesOf8Played(await testDevice())));
    });

    describe("on the tensor cores of the adapter", () => {
      before(async function () {
        if (!(await testDevice()).tensorCores) this.skip(); // software adapters have none
      });
      for (const row of matrixRows) it(row.op, async () => checkOp(row, await testDevice()));
    });
  });
});
