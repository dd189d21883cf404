import { type ChildProcess, spawn } from "node:child_process";
import { appendFile, cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect } from "chai";
import { encode } from "fast-png";
import { program } from "../../../dino/cli.js";
import { formatConfig, resolveConfig } from "../../../dino/config/resolve.js";
import type { PartialConfig } from "../../../dino/config/settings.js";
import type { LogPart, RunList } from "../../../dino/dashboard/api.js";
import { findRuns } from "../../../dino/dashboard/runs.js";
import { type Dashboard, openDashboard } from "../../../dino/dashboard/server.js";
import { truncateLog, type LogLine } from "../../../dino/run/log.js";
import { pictureName } from "../../../dino/run/picture-names.js";
import { runFiles } from "../../../dino/run/run-folder.js";
import { curvesOf, panels } from "../../../dino/web/dashboard/panels.js";
import { stepsOf, stageOf, warningsOf } from "../../../dino/web/dashboard/progress.js";
import { refreshRuns, type Get, type FetchedRun } from "../../../dino/web/dashboard/run-client.js";
import { drawFolder, tiny, tinySettings } from "../../support/command-line.js";
import { sourceLauncher } from "../../support/compiled-program.js";
import { rejection } from "../../support/rejection.js";
import { lineOf, textOf } from "../../support/shown-run.js";

/** The runs as the page knows them, see follow. */
const runsOf = async (known: readonly FetchedRun[], get: Get): Promise<readonly FetchedRun[]> =>
  (await refreshRuns(known, get)).runs;

describe("dashboard", () => {
  let inside: string;
  let dashboard: Dashboard;

  /** Writes what a run leaves, but for its weights. */
  async function writeRun(name: string, lines: readonly LogLine[], settings: PartialConfig = {}): Promise<string> {
    const out = join(inside, name);
    await mkdir(out, { recursive: true });
    const config = resolveConfig({ ...tinySettings, data: "builtin", steps: 20, out, ...settings });
    await writeFile(runFiles(out).config, formatConfig(config));
    await writeFile(runFiles(out).log, textOf(lines));
    return out;
  }

  /** Asks for an address exactly as it is written. */
  function ask(path: string, { method = "GET", host = "localhost" } = {}): Promise<{ status: number; body: string }> {
    const { hostname, port } = new URL(dashboard.address);
    return new Promise((resolve, reject) => {
      request({ hostname, port, path, method, headers: { host } }, (response) => {
        let body = "";
        response.on("data", (chunk: Buffer) => (body += chunk.toString("latin1")));
        response.on("end", () => resolve({ status: response.statusCode!, body }));
      })
        .on("error", reject)
        .end();
    });
  }

  const get = async (address: string): Promise<unknown> => {
    const { status, body } = await ask(`/${address}`);
    expect(status, address).to.equal(200);
    return JSON.parse(body);
  };
  const named = (runs: readonly FetchedRun[], name: string): FetchedRun =>
    runs.find(({ state }) => state.name === name)!;

  before(async () => {
    inside = await mkdtemp(join(tmpdir(), "dino-dashboard-"));
    await writeFile(join(inside, "secret.json"), "secret");
    const out = await writeRun("runs/one", [lineOf(10), lineOf(20)]);
    await mkdir(runFiles(out).pictures);
    for (const step of [20, 0]) {
      const png = encode({ width: 7, height: 5, channels: 3, data: new Uint8Array(7 * 5 * 3) });
      await writeFile(join(runFiles(out).pictures, pictureName(step, "attention")), png);
    }
    await writeFile(join(out, "checkpoint.safetensors"), "weights");
    await writeFile(runFiles(out).profile, JSON.stringify({ step: 10, device: "a GPU", kernels: [] }));
    await writeRun("runs/sweep/a_seed-0", [lineOf(10, { loss: 4 })], { lr: 1 });
    await mkdir(join(inside, "runs", "no-run"));
    dashboard = await openDashboard({
      roots: [join(inside, "runs")],
      host: "127.0.0.1",
      port: 0,
      log: () => undefined,
    });
  });
  after(async () => {
    await dashboard[Symbol.asyncDispose]();
    await rm(inside, { recursive: true, force: true });
  });

  describe("server", () => {
    it("serves the page and all that the page asks for, from this machine alone", async () => {
      const { body } = await ask("/");
      const assets = [...body.matchAll(/(?:src|href)="\.(\/assets\/[^"]+)"/g)].map(([, path]) => path!);
      expect(assets).to.have.length.of.at.least(2);
      for (const path of assets) expect(await ask(path)).to.have.property("status", 200);
      expect(body).to.not.match(/https?:\/\//);
    });

    it("lists the runs, those of sweeps too, with their pictures, and the size of those", async () => {
      const { runs, isLive } = (await get("api/runs.json")) as RunList;
      expect(isLive).to.equal(true);
      expect(runs.map(({ name }) => name)).to.deep.equal(["one", "sweep/a_seed-0"]);
      expect(runs[0]!.pictures).to.deep.equal([{ kind: "attention", steps: [0, 20], width: 7, height: 5 }]);
      expect(runs[1]).to.deep.include({ pictures: [] }).and.not.have.property("profile");
    });

    it("gives the files of a run as they are", async () => {
      const out = join(inside, "runs", "one");
      for (const file of ["config.json", "profile.json", "pictures/000000-attention.png"]) {
        const { status, body } = await ask(`/api/runs/one/${file}`);
        expect(status, file).to.equal(200);
        expect(Buffer.from(body, "latin1").equals(await readFile(join(out, file))), file).to.equal(true);
      }
    });

    it("gives nothing else, by whatever path", async () => {
      const out = join(inside, "runs", "one");
      await symlink(join(inside, "secret.json"), join(runFiles(out).pictures, pictureName(30, "features")));
      const within = [
        "checkpoint.safetensors",
        "log.jsonl",
        "pictures",
        "pictures/",
        "",
        "pictures/000030-features.png",
      ];
      const climbing = ["../../secret.json", "..%2f..%2fsecret.json", "%2e%2e/%2e%2e/secret.json"];
      const absolute = [
        join(inside, "secret.json"),
        encodeURIComponent(join(inside, "secret.json")),
        "..\\..\\secret.json",
      ];
      const odd = ["pictures/000000-attention.png%00", "%ff", "pictures%2f000000-attention.png/x"];
      for (const path of [...within, ...climbing, ...absolute, ...odd]) {
        const { status, body } = await ask(`/api/runs/one/${path}`);
        expect(status, path).to.equal(404);
        expect(body, path).to.not.include("secret\n");
      }
      for (const path of [
        "/../package.json",
        "/%2e%2e/package.json",
        "/assets/../../../package.json",
        "/api/runs/none/log.json",
      ]) {
        expect((await ask(path)).status, path).to.equal(404);
      }
      await rm(join(runFiles(out).pictures, pictureName(30, "features")));
    });

    it("shows no run whose files are links to elsewhere", async () => {
      const out = await writeRun("runs/linked", [lineOf(10)]);
      await rm(runFiles(out).config);
      await symlink(join(inside, "secret.json"), runFiles(out).config);
      expect((await ask("/api/runs/linked/config.json")).status).to.equal(404);
      await rm(out, { recursive: true });
    });

    it("is to read only, and answers to the names of this machine only", async () => {
      for (const method of ["POST", "PUT", "DELETE"])
        expect((await ask("/api/runs.json", { method })).status).to.equal(405);
      expect(await ask("/api/runs.json", { method: "HEAD" })).to.deep.equal({ status: 200, body: "" });
      for (const host of ["127.0.0.1:80", "localhost", "[::1]:80"]) {
        expect((await ask("/api/runs.json", { host })).status, host).to.equal(200);
      }
      for (const host of ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80"]) {
        expect((await ask("/api/runs.json", { host })).status, host).to.equal(403);
      }
    });

    it("gives whole lines of the log from a byte on, and all of it where it was cut back", async () => {
      const out = await writeRun("runs/growing", [lineOf(10), lineOf(20)]);
      const part = async (from: number, version: string) =>
        (await get(`api/runs/growing/log.json?from=${from}&version=${version}`)) as LogPart;
      const first = await part(0, "");
      expect(first.lines).to.equal(textOf([lineOf(10), lineOf(20)]));
      await appendFile(runFiles(out).log, textOf([lineOf(30)]) + '{"step":4');
      const second = await part(first.to, first.version);
      expect(second).to.deep.equal({ ...first, from: first.to, to: second.to, lines: textOf([lineOf(30)]) });
      expect(await part(second.to, first.version)).to.include({ lines: "", from: second.to, to: second.to });
      await truncateLog(runFiles(out).log, 10);
      await appendFile(runFiles(out).log, textOf([lineOf(20, { loss: 1 }), lineOf(30), lineOf(40)]));
      const anew = await part(second.to, first.version);
      expect(anew).to.include({
        from: 0,
        lines: textOf([lineOf(10), lineOf(20, { loss: 1 }), lineOf(30), lineOf(40)]),
      });
      for (const from of ["-1", "x", "1.5"]) {
        expect((await ask(`/api/runs/growing/log.json?from=${from}`)).status).to.equal(400);
      }
      await rm(out, { recursive: true });
    });

    it("says which port is taken, and what to do", async () => {
      const { port } = new URL(dashboard.address);
      const again = openDashboard({ roots: [inside], host: "127.0.0.1", port: Number(port), log: () => undefined });
      expect(await rejection(again)).to.equal(`port ${port} of 127.0.0.1 is in use; --port 0 takes any free port`);
    });

    it("knows a folder that is given twice once, and tells runs of one name apart", async () => {
      const [one, other] = [join(inside, "runs", "one"), join(inside, "elsewhere", "one")];
      await cp(one, other, { recursive: true });
      const runs = await findRuns([one, join(inside, "runs"), other]);
      expect([...runs.keys()]).to.deep.equal(["one", "sweep/a_seed-0", "one (2)"]);
    });
  });

  describe("page", () => {
    it("follows runs: reads what is new, forgets what was taken back, and leaves out who is gone", async () => {
      const asked: string[] = [];
      const counting = (address: string) => {
        asked.push(address);
        return get(address);
      };
      const out = await writeRun("runs/followed", [lineOf(10)]);
      let runs = await runsOf([], counting);
      expect(named(runs, "followed").steps).to.deep.equal([lineOf(10)]);
      expect(named(runs, "one").profile).to.include({ device: "a GPU" });
      asked.length = 0;
      runs = await runsOf(runs, counting);
      expect(asked).to.deep.equal(["api/runs.json"]);
      await appendFile(runFiles(out).log, textOf([lineOf(15)]));
      const epoch = { type: "epoch", step: 20, epoch: 1, loss: 3, lr: 0, weightDecay: 0 } as const;
      await appendFile(runFiles(out).log, textOf([epoch]));
      runs = await runsOf(runs, counting);
      expect(named(runs, "followed")).to.deep.include({
        steps: [lineOf(10), lineOf(15)],
        epochs: [epoch],
        evaluations: [],
      });
      const knn = { k: 20, top1: 50, top5: 90 };
      const [between, ending] = [
        { type: "evaluation", step: 22, epoch: 1, knn } as const,
        { ...epoch, step: 30, knn: { ...knn, top1: 60 } },
      ];
      await appendFile(runFiles(out).log, textOf([between, ending]));
      runs = await runsOf(runs, counting);
      expect(named(runs, "followed")).to.deep.include({ epochs: [epoch, ending], evaluations: [between, ending] });
      const accuracy = panels.slice(0, 2).find(({ title }) => title.startsWith("Accuracy"))!;
      expect(curvesOf(accuracy, [named(runs, "followed")]).slice(0, 2)).to.deep.equal([
        [22, 30],
        [50, 60],
      ]);
      await truncateLog(runFiles(out).log, 10);
      runs = await runsOf(runs, counting);
      expect(named(runs, "followed")).to.deep.include({ steps: [lineOf(10)], epochs: [], evaluations: [] });
      await rename(out, join(inside, "moved"));
      expect(named(await runsOf(runs, counting), "followed")).to.equal(undefined);
    });

    it("says how far a run is, and when it has collapsed", async () => {
      const uniform = Array.from({ length: 8 }, (_, i) => lineOf(10 * (i + 1), { teacherEntropy: Math.log(32) }));
      const out = await writeRun("runs/collapsed", uniform, { epochs: 3, steps: null });
      let run = named(await runsOf([], get), "collapsed");
      expect([stepsOf(run), stageOf(run)]).to.deep.equal([undefined, "training"]);
      expect(warningsOf(run)).to.have.length(1);
      expect(warningsOf(run)[0]).to.match(/^collapse at step 70: the teacher's targets are uniform/);
      await appendFile(
        runFiles(out).log,
        textOf([{ ...{ type: "epoch", step: 80, epoch: 0, loss: 3, lr: 0, weightDecay: 0 } }]),
      );
      run = named(await runsOf([run], get), "collapsed");
      expect(stepsOf(run)).to.equal(240);
      const old = { ...run, state: { ...run.state, log: { ...run.state.log, ageMs: 3_600_000 } } };
      expect(stageOf(old)).to.equal("stopped");
      expect(stageOf({ ...run, steps: [lineOf(240)] })).to.equal("finished");
      expect(warningsOf(named(await runsOf([], get), "one"))).to.deep.equal([]);
      await rm(out, { recursive: true });
    });

    it("lays the curves of runs over each other, each at the steps that it has", async () => {
      const runs = await runsOf([], get);
      const loss = panels.find(({ title }) => title === "Loss")!;
      const [one, other] = [named(runs, "one"), { ...named(runs, "one"), steps: [lineOf(15, { loss: 1 })] }];
      expect(curvesOf(loss, [one, other])).to.deep.equal([
        [10, 15, 20],
        [3, undefined, 3],
        [undefined, 1, undefined],
      ]);
      expect(curvesOf(loss, [])).to.deep.equal([[]]);
    });
  });

  describe("commands", () => {
    /** Starts `dino` from its sources, which build the page where it is missing, and waits for an address in what it prints. */
    async function start(
      ...args: readonly string[]
    ): Promise<{ child: ChildProcess; address: string; stderr: () => string }> {
      const child = spawn(process.execPath, [sourceLauncher, ...args], { stdio: ["ignore", "pipe", "pipe"] });
      let stderr = "";
      const address = await new Promise<string>((resolve, reject) => {
        const look = (chunk: Buffer): void => {
          const found = /http:[^\s"]+/.exec(chunk.toString());
          if (found) resolve(found[0]);
        };
        child.stdout.on("data", look);
        child.stderr.on("data", (chunk: Buffer) => {
          stderr += chunk.toString();
          look(chunk);
        });
        child.on("exit", () => reject(new Error(`ended: ${stderr}`)));
      });
      return { child, address, stderr: () => stderr };
    }

    const ended = (child: ChildProcess) => new Promise<number | null>((resolve) => child.once("exit", resolve));

    it("dino serve serves until it is stopped", async () => {
      const { child, address } = await start("serve", join(inside, "runs"), "--port", "0", "--json");
      const { runs } = (await (await fetch(`${address}api/runs.json`)).json()) as RunList;
      expect(runs.map(({ name }) => name)).to.include("one");
      child.kill("SIGINT");
      expect(await ended(child)).to.equal(0);
    });

    it("dino serve says what is wrong with what it is given", async () => {
      const { port } = new URL(dashboard.address);
      const serve = async (...words: readonly string[]) =>
        rejection((await program("serve")).parseAsync(["serve", ...words], { from: "user" }));
      expect(await serve(join(inside, "nothing"))).to.match(/expected the folder of a run, got nothing of that name$/);
      expect(await serve(join(inside, "runs", "no-run"))).to.match(
        /expected the folder of a run, with config.json and/,
      );
      expect(await serve()).to.match(/^expected folders of runs, --model or --index/);
      expect(await serve(inside, "--overwrite")).to.equal("--overwrite: expected --static as well");
      expect(await serve(inside, "--port", port)).to.equal(
        `port ${port} of 127.0.0.1 is in use; --port 0 takes any free port`,
      );
      expect(await serve(inside, "--port", "65536")).to.match(/Expected 0 to 65535/);
      expect(await serve(inside, "--host", "192.0.2.1")).to.match(
        /^--host 192.0.2.1: expected an address of this machine/,
      );
    });

    it("dino train --dashboard shows its run, at another port where that one is taken", async () => {
      const blocker = createServer().listen(0, "127.0.0.1");
      await new Promise((resolve) => blocker.once("listening", resolve));
      const { port } = blocker.address() as AddressInfo;
      const [data, out] = [join(inside, "photos"), join(inside, "trained")];
      await drawFolder(data, 4);
      const flags = ["--data", data, "--out", out, ...tiny, "--steps", "5000", "--dashboard", String(port)];
      const { child, address, stderr } = await start("train", ...flags);
      expect(stderr()).to.include(`--dashboard: port ${port} is taken; taking another\n`);
      let runs: RunList["runs"] = [];
      while (!runs[0]?.pictures.length) {
        await setTimeout(300);
        ({ runs } = (await (await fetch(`${address}api/runs.json`)).json()) as RunList);
      }
      expect(runs[0]).to.include({ name: "trained" });
      child.kill("SIGINT");
      expect(await ended(child)).to.equal(130);
      blocker.close();
    });
  });
});
