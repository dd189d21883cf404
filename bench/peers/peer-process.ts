/** A peer in a separate process, so that a crash affects only that peer. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { extname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Answers, Reply, Request } from "./host.js";

/** Command that starts a peer. */
export interface PeerSpec {
  readonly name: string;
  /** Module with the exports of `Peer`. */
  readonly module: URL;
  /** Command line flags of Node. */
  readonly nodeFlags?: readonly string[];
  /** Adapter features to hide from it. */
  readonly hidden?: readonly string[];
}

export interface PeerProcess {
  readonly name: string;
  /** Starts the process. Throws the errors of the peer, and if the process ends or does not answer, as does `ask`. */
  open(): Promise<Answers["open"]>;
  /** Sends a request; starts a new process if the last one has ended. */
  ask<R extends Request>(request: R): Promise<Answers[R["ask"]]>;
  [Symbol.dispose](): void;
}

/** Timeout of a request; software adapters take up to three minutes to compile some kernels. */
const TIMEOUT_MS = 300_000;

const HOST = fileURLToPath(new URL(`./host${extname(import.meta.url)}`, import.meta.url));

/** Creates a peer; its process starts with `open`. */
export function createPeer({ name, module, nodeFlags = [], hidden = [] }: PeerSpec): PeerProcess {
  let child: ChildProcess | undefined;
  let stderr = "";

  const forget = (ended: ChildProcess) => {
    if (child === ended) child = undefined;
  };

  const start = () => {
    stderr = "";
    const started = fork(HOST, [module.href, hidden.join(",")], {
      execArgv: [...process.execArgv, ...nodeFlags],
      serialization: "advanced",
      silent: true,
    });
    started.stderr?.on("data", (chunk: Buffer) => (stderr = `${stderr}${chunk.toString()}`.slice(-1000)));
    started.stdout?.resume();
    started.once("exit", () => forget(started));
    return (child = started);
  };

  /** Sends a request, and waits for the answer, the end of the process, or the timeout. */
  const send = async (to: ChildProcess, request: Request): Promise<Reply> => {
    const settled = new AbortController();
    const { signal } = settled;
    const replied = once(to, "message", { signal }) as Promise<[Reply]>;
    const ended = once(to, "close", { signal }).then(([code, killedBy]: (number | string | null)[]) => {
      const lines = stderr.trim().split("\n");
      const why = lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1) ?? "";
      throw new Error(`the process ended with ${killedBy ?? `exit code ${code}`}${why && `: ${why}`}`);
    });
    const late = sleep(TIMEOUT_MS, undefined, { signal }).then(() => {
      forget(to);
      to.kill("SIGKILL");
      throw new Error(`no answer to "${request.ask}" in ${TIMEOUT_MS / 1000} s`);
    });
    to.send(request);
    try {
      const [reply] = await Promise.race([replied, ended, late]);
      return reply;
    } finally {
      settled.abort();
    }
  };

  const requestAnswer = async <R extends Request>(to: ChildProcess, request: R): Promise<Answers[R["ask"]]> => {
    const reply = await send(to, request);
    if ("error" in reply) throw new Error(reply.error);
    return reply.answer as Answers[R["ask"]];
  };

  const open = async () => {
    const started = start();
    try {
      return await requestAnswer(started, { ask: "open" });
    } catch (error) {
      forget(started);
      started.kill("SIGKILL");
      throw error;
    }
  };

  return {
    name,
    open,
    async ask(request) {
      if (!child) await open();
      return await requestAnswer(child!, request);
    },
    [Symbol.dispose]: () => void child?.kill("SIGKILL"),
  };
}
