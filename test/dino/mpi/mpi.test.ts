import { execFile, type ExecFileException, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { readLog } from "../../../dino/run/log.js";
import { readCheckpoint } from "../../../dino/weights/checkpoint.js";
import { dino, drawFolder, type Finished, tiny } from "../../support/command-line.js";
import { compiledLauncher } from "../../support/compiled-program.js";

/** A way to start several processes. */
interface Mpi {
  readonly name: "Open MPI" | "MPICH";
  readonly program: string;
  readonly flags: readonly string[];
}

/** What is installed of the two; `mpirun` alone may be either. */
async function installed(): Promise<readonly Mpi[]> {
  const found: Mpi[] = [];
  for (const program of ["mpirun.openmpi", "mpirun.mpich", "mpirun"]) {
    const words = await new Promise<string>((resolve) => {
      execFile(program, ["--version"], (_: ExecFileException | null, stdout) => resolve(stdout));
    });
    const name =
      words.includes("Open MPI") || words.includes("OpenRTE")
        ? "Open MPI"
        : /HYDRA|MPICH/i.test(words)
          ? "MPICH"
          : undefined;
    if (name === undefined || found.some((mpi) => mpi.name === name)) continue;
    const openMpi = ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"];
    found.push({ name, program, flags: name === "Open MPI" ? openMpi : [] });
  }
  return found;
}

const all = await installed();

/** Starts `dino` with these words as so many ranks. */
function start(
  { program, flags }: Mpi,
  ranks: number,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
) {
  const words = [...flags, "-n", String(ranks), process.execPath, compiledLauncher(), ...args];
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  const out = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (out.stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (out.stderr += chunk.toString()));
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...out }));
  });
  return { child, finished };
}

/** The process of a rank that trains into a folder, as Linux tells. */
function processOf(rank: number, folder: string): number {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const of = (file: string) => readFileSync(`/proc/${pid}/${file}`, "utf8").split("\0");
      const isRank = of("environ").some(
        (each) => each === `OMPI_COMM_WORLD_RANK=${rank}` || each === `PMI_RANK=${rank}`,
      );
      if (isRank && of("cmdline").includes(folder) && of("cmdline").includes("train")) return Number(pid);
    } catch {
      // it has ended, or is somebody else's
    }
  }
  throw new Error(`no process of rank ${rank} trains into ${folder}`);
}

describe("training under mpirun", function () {
  this.timeout(240_000);
  let folder: string;
  let photos: string;
  /** Flags of a run of 12 steps, 3 epochs, in a folder of its own. */
  const run = (name: string) => [
    ...[
      "train",
      "--data",
      photos,
      "--out",
      join(folder, name),
      ...tiny,
      "--held-out",
      "0.2",
      "--knn-every",
      "3",
      "--knn-k",
      "3",
    ],
    ...["--epochs", "3", "--checkpoint-every", "12", "--drop-path-rate", "0.2", "--depth", "2", "--verify-ranks", "3"],
  ];
  const stateOf = async (name: string) => readCheckpoint(join(folder, name, "checkpoint.safetensors"));

  before(async function () {
    if (all.length === 0) this.skip(); // no MPI is installed: openmpi-bin has one
    folder = await mkdtemp(join(tmpdir(), "dino-mpi-"));
    photos = join(folder, "photos");
    await drawFolder(photos, 10);
    const { code, stderr } = await dino(...run("alone"));
    expect(code, stderr).to.equal(0);
  });
  after(async () => {
    if (all.length > 0) await rm(folder, { recursive: true });
  });

  /** Compares a run with one of a single process: its log and what it trained. */
  async function expectLikeAlone(name: string, alone = "alone"): Promise<void> {
    const [log, expected] = await Promise.all(
      [name, alone].map((folderName) => readLog(join(folder, folderName, "log.jsonl"))),
    );
    expect(log!.steps.map(({ step }) => step)).to.deep.equal(expected!.steps.map(({ step }) => step));
    for (const [i, { loss, gradientNorm, teacherEntropy }] of expected!.steps.entries()) {
      const found = log!.steps[i]!;
      expect(found.loss, `loss at step ${found.step}`).to.be.closeTo(loss, 1e-4);
      expect(found.teacherEntropy).to.be.closeTo(teacherEntropy, 1e-3);
      expect(found.gradientNorm / gradientNorm).to.be.closeTo(1, 1e-2);
    }
    expect(log!.epochs.at(-1)!.knn).to.deep.equal(expected!.epochs.at(-1)!.knn);
    const [state, single] = [await stateOf(name), await stateOf(alone)];
    expect([...state.tensors.keys()]).to.deep.equal([...single.tensors.keys()]);
    for (const center of [...state.tensors.keys()].filter((tensor) => tensor.endsWith("center")))
      for (const [i, x] of state.tensors.get(center)!.values.entries())
        expect(x).to.be.closeTo(single.tensors.get(center)!.values[i]!, 1e-4);
  }

  const runs = new Map<string, Promise<Finished>>();
  const nameOf = (mpi: Mpi, ranks: number) => `${mpi.name} ${ranks}`;
  /** Trains on so many ranks, once for all tests. */
  function trained(mpi: Mpi, ranks: number): Promise<Finished> {
    const name = nameOf(mpi, ranks);
    const known = runs.get(name) ?? start(mpi, ranks, run(name)).finished;
    runs.set(name, known);
    return known;
  }

  for (const [mpi, ranks] of all.flatMap((mpi) => [
    [mpi, 2] as const,
    ...(mpi.name === "Open MPI" ? [[mpi, 4] as const] : []),
  ])) {
    const tag = mpi === all[0] && ranks === 2 ? "" : " @long";
    it(`trains on ${ranks} ranks with ${mpi.name} as in one process${tag}`, async () => {
      const name = nameOf(mpi, ranks);
      const { code, stdout, stderr } = await trained(mpi, ranks);
      expect(code, stderr).to.equal(0);
      expect(stdout.match(/^checkpoint/gm), "rank 0 alone speaks").to.have.length(1);
      expect(stderr).to.include(`${ranks} ranks with ${mpi.name}`);
      await expectLikeAlone(name);
      const [{ peersWaitMs } = {}] = (await readLog(join(folder, name, "log.jsonl"))).steps;
      expect(peersWaitMs).to.be.above(0);
    });
  }

  it("trains with the method of DINOv2 as in one process", async () => {
    // each rank drops samples of its own; a factor of branches that lets features differ keeps KoLeo's gradients small
    const flags = ["--method", "dinov2", "--drop-path-rate", "0", "--layer-scale", "0.5"];
    const alone = await dino(...run("dinov2 alone"), ...flags);
    expect(alone.code, alone.stderr).to.equal(0);
    const { code, stderr } = await start(all[0]!, 2, [...run("dinov2"), ...flags]).finished;
    expect(code, stderr).to.equal(0);
    await expectLikeAlone("dinov2", "dinov2 alone");
  });

  it("trains with gradients of half the size @long", async () => {
    const { code, stderr } = await start(all[0]!, 2, [...run("compressed"), "--compress-gradients", "--epochs", "1"])
      .finished;
    expect(code, stderr).to.equal(0);
    const [log, expected] = await Promise.all(
      ["compressed", "alone"].map((folderName) => readLog(join(folder, folderName, "log.jsonl"))),
    );
    expect(log!.steps[0]!.loss).to.be.closeTo(expected!.steps[0]!.loss, 1e-3);
  });

  it("gives the same bytes with both on the same number of ranks @long", async function () {
    if (all.length < 2) this.skip(); // one of the two is not installed
    for (const mpi of all) await trained(mpi, 2);
    const [a, b] = await Promise.all(all.map((mpi) => stateOf(nameOf(mpi, 2))));
    expect(a!.tensors).to.deep.equal(b!.tensors);
  });

  it("ends with a checkpoint when a rank is killed, from which other numbers of ranks go on @long", async function () {
    const openMpi = all.find(({ name }) => name === "Open MPI"); // MPICH kills all ranks at once
    if (!openMpi || process.platform !== "linux") this.skip();
    const out = join(folder, "killed");
    // the second that Open MPI leaves to other ranks is little on a machine that is kept busy
    const patient = { ...openMpi, flags: [...openMpi.flags, "--mca", "odls_base_sigkill_timeout", "5"] };
    const { finished } = start(patient, 2, [...run("killed"), "--checkpoint-every", "1000", "--log-every", "1"]);
    const log = join(out, "log.jsonl");
    for (;;) {
      const lines = existsSync(log) ? (await readFile(log, "utf8")).split("\n").length - 1 : 0;
      if (lines >= 4) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const killedMs = performance.now();
    process.kill(processOf(1, out), "SIGKILL");
    const { code, stderr } = await finished;
    expect(performance.now() - killedMs).to.be.below(30_000);
    expect(code, stderr).not.to.equal(0);
    const { step } = await stateOf("killed");
    expect(step, stderr).to.be.within(3, 12);
    await cp(out, join(folder, "again"), { recursive: true });
    const resume = (name: string) => ["train", "--out", join(folder, name), "--resume", "--log-every", "2"];
    const single = await dino(...resume("killed"));
    expect(single.code, single.stderr).to.equal(0);
    const four = await start(openMpi, 4, resume("again")).finished;
    expect(four.code, four.stderr).to.equal(0);
    for (const name of ["killed", "again"]) {
      const [state, expected] = [await stateOf(name), await stateOf("alone")];
      expect(state.step).to.equal(expected.step);
      for (const [i, x] of state.tensors.get("center")!.values.entries())
        expect(x, name).to.be.closeTo(expected.tensors.get("center")!.values[i]!, 1e-4);
    }
  });

  describe("refuses", () => {
    const refusals: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>, RegExp])[] = [
      [
        "a batch without equal shares",
        ["--batch", "5"],
        {},
        /dino: rank 0: --batch 5: expected a multiple of 2, so that 2 ranks/,
      ],
      [
        "to go on without MPI",
        [],
        { DINO_MPI_LIBRARY: "/no/libmpi.so" },
        /started 2 processes, but .*is not found; install/,
      ],
      ["an adapter that one rank lacks", ["--device", "99"], {}, /dino: rank \d: adapter 99: expected one of 0 /],
    ];
    for (const [what, flags, env, words] of refusals) {
      it(what, async () => {
        const { code, stderr } = await start(all[0]!, 2, [...run("refused"), ...flags], env).finished;
        expect(code).not.to.equal(0);
        expect(stderr).to.match(words);
        expect(existsSync(join(folder, "refused", "checkpoint.safetensors"))).to.equal(false);
      });
    }

    it("the library of another launcher", async function () {
      if (all.length < 2) this.skip(); // one of the two is not installed
      const other = all[0]!.name === "MPICH" ? "libmpi.so.40" : "libmpich.so.12";
      const { code, stderr } = await start(all[0]!, 2, run("refused"), { DINO_MPI_LIBRARY: other }).finished;
      expect(code).not.to.equal(0);
      expect(stderr).to.match(
        /mpirun of .* started 2 processes, but .* makes a world of 1; install the library of that launcher/,
      );
    });
  });
});
