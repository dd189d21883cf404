import { expect } from "chai";
import { defaultConfig } from "../../../dino/config/settings.js";
import { interruptible } from "../../../dino/mpi/interruptible-world.js";
import { launchOf } from "../../../dino/mpi/launcher.js";
import { openReporter, findStraggler, warningsOfOthers } from "../../../dino/mpi/reports.js";
import { broadcast, gather } from "../../../dino/mpi/sharing.js";
import { singleWorld, openWorld } from "../../../dino/mpi/world.js";
import { gatherFeatures, sliceOf, shareInitialState, verifyStates } from "../../../dino/training/shared-state.js";
import type { Checkpoint } from "../../../dino/weights/checkpoint-bytes.js";
import { inProcess } from "../../support/in-process.js";
import { rejection } from "../../support/rejection.js";

const none = { sum: 0, count: 0 };

function checkpoint(values: Readonly<Record<string, readonly number[]>>): Checkpoint {
  const tensors = Object.entries(values).map(
    ([name, numbers]) => [name, { shape: [numbers.length], values: Float32Array.from(numbers) }] as const,
  );
  const unlogged = { interval: none, epoch: { sum: 1.5, count: 1 } };
  return { config: defaultConfig, step: 7, unlogged, choices: { matmul: "tiled" }, tensors: new Map(tensors) };
}

describe("the launcher of a rank", () => {
  it("is known by its variables, and only of several processes", () => {
    const openMpi = { OMPI_COMM_WORLD_SIZE: "8", OMPI_COMM_WORLD_RANK: "5", OMPI_COMM_WORLD_LOCAL_RANK: "1" };
    expect(launchOf({ ...openMpi, OMPI_COMM_WORLD_LOCAL_SIZE: "4" })).to.deep.equal({
      launcher: "mpirun of Open MPI",
      rank: 5,
      size: 8,
      localRank: 1,
      localSize: 4,
    });
    expect(launchOf({ PMI_SIZE: "2", PMI_RANK: "1", MPI_LOCALRANKID: "0", MPI_LOCALNRANKS: "1" })).to.deep.equal({
      launcher: "mpirun of MPICH",
      rank: 1,
      size: 2,
      localRank: 0,
      localSize: 1,
    });
    const slurm = {
      SLURM_STEP_NUM_TASKS: "6",
      SLURM_PROCID: "4",
      SLURM_LOCALID: "0",
      SLURM_STEP_TASKS_PER_NODE: "2(x3)",
    };
    expect(launchOf({ ...slurm, PMI_SIZE: "6", PMI_RANK: "4" })).to.deep.equal({
      launcher: "srun",
      rank: 4,
      size: 6,
      localRank: 0,
      localSize: 2,
    });
    expect(launchOf({ SLURM_NTASKS: "6", SLURM_PROCID: "0" }), "a script of sbatch").to.equal(undefined);
    expect(launchOf({ ...openMpi, OMPI_COMM_WORLD_SIZE: "1" }), "one process").to.equal(undefined);
    expect(launchOf({})).to.equal(undefined);
  });

  it("makes a world of one that needs nothing where there is none", async () => {
    await using world = await openWorld();
    expect([world.rank, world.size, world.library]).to.deep.equal([0, 1, undefined]);
    const to = new Float32Array(2);
    await world.sum(Float32Array.of(3, 4), to);
    expect([...to]).to.deep.equal([3, 4]);
  });
});

describe("what ranks share", () => {
  it("is what the first makes, and what each says to it", async () => {
    let made = 0;
    const heard = await Promise.all(
      inProcess(3).map(async (world) => {
        const config = await broadcast(world, () => ({ made: ++made }));
        return [config.made, await gather(world, `rank ${world.rank}`)];
      }),
    );
    expect(heard).to.deep.equal([
      [1, ["rank 0", "rank 1", "rank 2"]],
      [1, []],
      [1, []],
    ]);
  });

  it("is where to begin: a checkpoint or values, to the byte", async () => {
    const state = checkpoint({ "backbone.a": [1, -0, 3.25], center: [0.1] });
    const values = new Map([["backbone.a", Float32Array.of(1, 2)]]);
    for (const beginning of [{ checkpoint: state }, { values }]) {
      const begun = await Promise.all(
        inProcess(2).map((world) =>
          shareInitialState(world, () =>
            world.rank === 0 ? Promise.resolve(beginning) : Promise.reject(new Error("not the first")),
          ),
        ),
      );
      expect(begun).to.deep.equal([beginning, beginning]);
    }
  });

  it("is the features of all images, in their order, whatever the number of ranks", async () => {
    for (const size of [1, 2, 3, 5]) {
      const all = await Promise.all(
        inProcess(size).map((world) => {
          const indices = Int32Array.from(sliceOf([10, 11, 12, 13], world));
          const values = Float32Array.from(indices, (index) => index / 2);
          const failures = world.rank === size - 1 ? [{ path: "bad.png", reason: "no picture" }] : [];
          const dim = indices.length > 0 ? 1 : 0;
          return gatherFeatures(world, { features: { values, rows: values.length, dim }, indices, failures });
        }),
      );
      expect(all[0]).to.deep.equal({
        features: { values: Float32Array.of(5, 5.5, 6, 6.5), rows: 4, dim: 1 },
        indices: Int32Array.of(10, 11, 12, 13),
        failures: [{ path: "bad.png", reason: "no picture" }],
      });
    }
  });

  it("is told apart where it is not the same to the bit, naming ranks and parts", async () => {
    const verified = (states: readonly Checkpoint[]) =>
      Promise.allSettled(inProcess(3).map((world, rank) => verifyStates(world, states[rank]!)));
    const same = { "backbone.a": [1], "student.backbone.a": [0], "optimizer.exp_avg.backbone.a": [2], center: [3] };
    const fine = checkpoint(same);
    expect((await verified([fine, fine, checkpoint(same)])).map(({ status }) => status)).to.deep.equal(
      Array(3).fill("fulfilled"),
    );
    const off = checkpoint({ ...same, "student.backbone.a": [-0], center: [3.0000005] });
    const [first] = await verified([fine, fine, off]);
    expect((first as PromiseRejectedResult).reason)
      .to.be.an("error")
      .with.property("message")
      .that.matches(
        /^--verify-ranks: after step 7 the ranks are not alike: rank 2 in its student, center differs from rank 0/,
      );
  });
});

describe("a rank that waits for others", () => {
  /** A world whose others never come. */
  const deserted = () => {
    const never = () => new Promise<never>(() => undefined);
    return { ...singleWorld(), size: 2, sum: never, gather: never };
  };

  it("keeps what there is once an end is asked for, and gives up", async () => {
    const stop = new AbortController();
    let kept = 0;
    const keep = () => {
      kept++;
      return Promise.resolve();
    };
    const world = interruptible(deserted(), { stop: stop.signal, saveState: keep, patienceMs: 50 });
    const waiting = rejection(world.sum(new Float32Array(1), new Float32Array(1)));
    await new Promise((resolve) => setTimeout(resolve, 120));
    expect(kept).to.equal(0);
    stop.abort("SIGTERM");
    expect(await waiting).to.match(/^SIGTERM: no answer from the other ranks for 0.05 s/);
    expect(kept).to.equal(1);
    expect(await rejection(world.gather(new Uint8Array(1)))).to.match(/^SIGTERM/);
    expect(kept, "once").to.equal(1);
    expect(world.waitedMs()).to.be.above(120);
  });

  it("goes on where they answer in time", async () => {
    const stop = new AbortController();
    stop.abort("SIGTERM");
    const [first, second] = inProcess(2).map((world) =>
      interruptible(world, { stop: stop.signal, saveState: () => Promise.reject(new Error("not needed")) }),
    );
    const to = new Float32Array(1);
    await Promise.all([first!.sum(Float32Array.of(1), to), second!.sum(Float32Array.of(2), new Float32Array(1))]);
    expect(to[0]).to.equal(3);
  });

  it("uses no answer before all is kept", async () => {
    const stop = new AbortController();
    stop.abort("SIGTERM");
    const order: string[] = [];
    const [first, second] = inProcess(2);
    const heeding = interruptible(first!, {
      stop: stop.signal,
      saveState: async () => {
        await second!.sum(Float32Array.of(2), new Float32Array(1)); // the answer comes while it keeps
        await new Promise((resolve) => setTimeout(resolve, 30));
        order.push("kept");
      },
    });
    await heeding.sum(Float32Array.of(1), new Float32Array(1));
    order.push("answered");
    expect(order).to.deep.equal(["kept", "answered"]);
  });
});

describe("reports of ranks", () => {
  const report = (ownMsPerStep: number, ...warnings: readonly string[]) => ({ ownMsPerStep, warnings });

  it("name the rank that all others wait for, where there is one", () => {
    expect(findStraggler([report(100), report(110), report(300), report(90)])).to.deep.include({ rank: 2, ms: 300 });
    expect(findStraggler([report(100), report(140)])).to.equal(undefined);
    expect(findStraggler([report(200), report(100)])).to.deep.include({ rank: 0, medianMs: 100 });
  });

  it("tell the first what it has not seen itself", () => {
    const reports = [report(1, "same"), report(1, "same", "a.png: skipped"), report(1)];
    expect(warningsOfOthers(reports)).to.deep.equal(["rank 1: a.png: skipped"]);
  });

  it("say so of a rank that is slow twice in a row", async () => {
    const said = await Promise.all(
      inProcess(2).map(async (world) => {
        const reporter = openReporter(interruptible(world, { stop: undefined, saveState: () => Promise.resolve() }));
        const words: (readonly string[])[] = [];
        for (const slow of [true, true, false]) {
          const ms = slow && world.rank === 1 ? 60 : 5;
          await reporter.measure(() => new Promise((resolve) => setTimeout(resolve, ms)));
          words.push(await reporter.report());
        }
        return words;
      }),
    );
    expect(said[0]![0]).to.deep.equal([]);
    expect(said[0]![1]!.join()).to.match(/^rank 1 is slow: its share of a step takes \d+ ms/);
    expect(said[1]).to.deep.equal([[], [], []]);
  });
});
