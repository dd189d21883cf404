/** The dashboard's server: its page, and what runs have written, to read only. */
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname } from "node:path";
import type { RunList } from "./api.js";
import { openPage } from "./page.js";
import { describeRun, findRuns, readLogPart, readRunFile, type Runs } from "./runs.js";

export interface DashboardOptions {
  /** Folders of runs, and folders that hold such. */
  readonly roots: readonly string[];
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly say: (words: string) => void;
}

export interface Dashboard extends AsyncDisposable {
  readonly address: string;
}

/** Begins to serve. Throws where the port is taken or not for this user, and where there is no page. */
export async function openDashboard({ roots, host, port, say }: DashboardOptions): Promise<Dashboard> {
  const page = await openPage(say);
  let known: Runs = new Map();
  const look = async () => (known = await findRuns(roots));
  const folderOf = async (name: string) => known.get(name) ?? (await look()).get(name);
  const server = createServer((request, response) => {
    void answer(request, { host, page, look, folderOf })
      .catch((error: unknown): Answer => ({ status: 500, text: `${(error as Error).message}\n` }))
      .then(({ status = 200, type = "text/plain; charset=utf-8", text, lasts = false }) => {
        response.writeHead(status, { ...HEADERS, "content-type": type, "cache-control": lasts ? LASTS : "no-store" });
        response.end(request.method === "HEAD" ? undefined : text);
      });
  });
  await listen(server, { host, port });
  const at = server.address() as AddressInfo;
  return {
    address: `http://${host.includes(":") ? `[${host}]` : host}:${at.port}/`,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A port that somebody else has. */
export class PortTakenError extends Error {}

function listen(server: Server, { host, port }: { readonly host: string; readonly port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") {
        reject(new PortTakenError(`port ${port} of ${host} is taken; --port 0 takes any that is free`));
      } else if (error.code === "EACCES") {
        reject(new Error(`port ${port} is not for this user; take one from 1024 on, or --port 0`));
      } else if (error.code === "EADDRNOTAVAIL" || error.code === "ENOTFOUND") {
        reject(
          new Error(`--host ${host}: expected an address of this machine, as 127.0.0.1, or 0.0.0.0 for all of them`),
        );
      } else reject(error);
    });
    server.listen(port, host, () => resolve());
  });
}

/** The page loads nothing from elsewhere, and nobody else may show it within a page of his own. */
const HEADERS = {
  "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};
const LASTS = "max-age=31536000, immutable";

interface Answer {
  readonly status?: number;
  readonly type?: string;
  readonly text: string | Uint8Array;
  /** What is at this address never changes. */
  readonly lasts?: boolean;
}

const NOTHING: Answer = { status: 404, text: "nothing of that name\n" };

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
};

interface Served extends Pick<DashboardOptions, "host"> {
  readonly page: ReadonlyMap<string, string>;
  /** The runs there are now. */
  readonly look: () => Promise<Runs>;
  /** The folder of a run; all folders are looked through only where it was not there at the last look. */
  readonly folderOf: (name: string) => Promise<string | undefined>;
}

async function answer({ method, url = "/", headers }: IncomingMessage, served: Served): Promise<Answer> {
  if (method !== "GET" && method !== "HEAD") return { status: 405, text: "there is only GET\n" };
  if (!isMeant(headers.host, served.host)) return { status: 403, text: `not served under the name ${headers.host}\n` };
  const { pathname, searchParams } = new URL(url, "http://dino");
  const file = served.page.get(pathname);
  if (file !== undefined) {
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    return { type, text: await readFile(file), lasts: pathname.startsWith("/assets/") };
  }
  const [empty, api, runs, name, ...rest] = pathname.split("/").map(decoded);
  if (empty !== "" || api !== "api" || runs !== "runs") return NOTHING;
  if (name === undefined) return json(await listOf(await served.look()));
  const folder = await served.folderOf(name);
  if (folder === undefined) return NOTHING;
  const what = rest.join("/");
  if (what === "log") {
    const from = Number(searchParams.get("from") ?? 0);
    if (!Number.isSafeInteger(from) || from < 0) return { status: 400, text: "from: expected a number of bytes\n" };
    const part = await readLogPart(folder, { from, version: searchParams.get("version") ?? "" });
    return part ? json(part) : NOTHING;
  }
  const content = await readRunFile(folder, what);
  return content ? { type: TYPES[extname(what)]!, text: content } : NOTHING;
}

function json(value: unknown): Answer {
  return { type: TYPES[".json"]!, text: JSON.stringify(value) };
}

/** What a part of an address stands for; undefined where that is no text. */
function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

/** Without those that are removed while they are looked at. */
async function listOf(runs: Runs): Promise<RunList> {
  const all = await Promise.all([...runs].map(([name, folder]) => describeRun(name, folder).catch(() => undefined)));
  return all.filter((run) => run !== undefined);
}

/**
 * Whether a request to this machine alone also names it: other pages cannot give it a name of theirs then, and read along
 * (DNS rebinding).
 */
function isMeant(asked: string | undefined, host: string): boolean {
  const isLocal = (name: string) => /^(localhost|127(\.\d+){3}|\[?::1\]?)$/.test(name);
  return !isLocal(host) || isLocal((asked ?? "").replace(/:\d+$/, ""));
}
