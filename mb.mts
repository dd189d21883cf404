// usage: node --import tsx mb.mts CASE REPEATS ; ROOT env
const root = process.env.ROOT!;
const { openDevice } = await import(root + "/engine/adapters/node.js");
const E = await import(root + "/engine/index.js");
const device = await openDevice({ choices: {}, ...(process.env.KERNELS ? { kernels: process.env.KERNELS } : {}) });
const cases: Record<string, { shapes: number[][]; build: (...x: any[]) => any }> = {
  sumrows: { shapes: [[12608, 576]], build: (x) => E.sumLeading(x, [576]) },
  sumrows192: { shapes: [[12608, 192]], build: (x) => E.sumLeading(x, [192]) },
  sumrows16: { shapes: [[12608, 576]], build: (x) => E.sumLeading(E.cast(x, "f16"), [576]) },
  splits: { shapes: [[8, 192, 576]], build: (x) => E.sumLeading(x, [192, 576]) },
};
const c = cases[process.argv[2]!]!;
const inputs = c.shapes.map((s) => { const x = E.input(device, s); x.write(Float32Array.from({ length: s.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i))); return x; });
const program = await E.record(device, () => ({ y: c.build(...inputs) }));
const ms: number[] = []; let kernels = "";
for (let i = 0; i < Number(process.argv[3] ?? 15); i++) { const p = (await program.profile()).filter((k: any) => !/^cast/.test(k.kernel)); kernels = p.map((k: any) => k.kernel).join(); ms.push(p.reduce((s: number, k: any) => s + k.ms, 0)); }
ms.sort((a, b) => a - b);
console.log(process.argv[2], "min", ms[0]!.toFixed(3), "median", ms[ms.length >> 1]!.toFixed(3), kernels);
process.exit(0);
