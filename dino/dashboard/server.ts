/** The server behind the pages, which reads the files of runs and takes posts where a site has use for them. */
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type Content, openSite, type Site, type SiteOptions } from "./site.js";

export interface DashboardOptions extends SiteOptions, ServerOptions {}

export interface ServerOptions {
  readonly host: string;
  /** 0 for any free port. */
  readonly port: number;
}

export interface Dashboard extends AsyncDisposable {
  readonly address: string;
}

/** What a server offers: contents to read and, if it takes any, posts of its own pages. */
export interface ServedSite extends Pick<Site, "read"> {
  /** Takes the body of a post and answers, undefined if the address takes none. Throws a RangeError for an invalid body. */
  post?(address: string, body: Buffer): Promise<Content | undefined>;
}

/** Starts the server. Throws if the port is taken or not permitted, and as `openSite` does. */
export async function openDashboard({ host, port, ...options }: DashboardOptions): Promise<Dashboard> {
  return serveSite(await openSite(options), { host, port });
}

/** Serves a site. Throws if the port is taken or not permitted. */
export async function serveSite(site: ServedSite, { host, port }: ServerOptions): Promise<Dashboard> {
  const server = createServer((request, response) => {
    void answer(request, host, site).then(
      ({ status = 200, type = "text/plain; charset=utf-8", bytes, isImmutable = false }) => {
        response.writeHead(status, {
          ...HEADERS,
          "content-type": type,
          "content-length": Buffer.byteLength(bytes),
          "cache-control": isImmutable ? IMMUTABLE : "no-store",
        });
        response.end(request.method === "HEAD" ? undefined : bytes);
      },
    );
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

/** The port is in use. */
export class PortTakenError extends Error {}

function listen(server: Server, { host, port }: { readonly host: string; readonly port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") {
        reject(new PortTakenError(`port ${port} of ${host} is in use; --port 0 takes any free port`));
      } else if (error.code === "EACCES") {
        reject(new Error(`port ${port} is not permitted for this user; use one from 1024 on, or --port 0`));
      } else if (error.code === "EADDRNOTAVAIL" || error.code === "ENOTFOUND") {
        reject(
          new Error(
            `--host ${host}: expected an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them`,
          ),
        );
      } else reject(error);
    });
    server.listen(port, host, () => resolve());
  });
}

/** Forbids loading from other origins, and embedding in other pages. */
const HEADERS = {
  "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};
const IMMUTABLE = "max-age=31536000, immutable";

interface Answer {
  readonly status?: number;
  readonly type?: string;
  readonly bytes: Content["bytes"];
  readonly isImmutable?: boolean;
}

const NOTHING: Answer = { status: 404, bytes: "not found\n" };

async function answer(request: IncomingMessage, host: string, site: ServedSite): Promise<Answer> {
  const { method, url = "/", headers } = request;
  const isPost = method === "POST" && site.post !== undefined;
  if (method !== "GET" && method !== "HEAD" && !isPost)
    return {
      status: 405,
      bytes: site.post ? "only GET, HEAD and POST are supported\n" : "only GET and HEAD are supported\n",
    };
  if (!isAllowedHost(headers.host, host)) return { status: 403, bytes: `not served under the name ${headers.host}\n` };
  if (isPost && headers.origin !== `http://${headers.host}`)
    return { status: 403, bytes: "only the pages of this server may post to it\n" };
  const { pathname, searchParams } = new URL(url, "http://dino");
  const address = decoded(pathname);
  if (address === undefined) return NOTHING;
  try {
    if (!isPost) return (await site.read(address, searchParams)) ?? NOTHING;
    const body = await bodyOf(request);
    if (body === undefined) return { status: 413, bytes: `expected at most ${MOST_POSTED} bytes\n` };
    return (await site.post!(address, body)) ?? NOTHING;
  } catch (error) {
    const status = error instanceof RangeError ? 400 : 500;
    return { status, bytes: `${(error as Error).message}\n` };
  }
}

/** Maximum bytes of a post, enough for any photograph. */
const MOST_POSTED = 64 << 20;

/** Reads the body of a request; undefined if it is too long. */
async function bodyOf(request: IncomingMessage): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes <= MOST_POSTED) parts.push(part);
  }
  return bytes > MOST_POSTED ? undefined : Buffer.concat(parts);
}

/** Decodes an address; undefined if it is not valid text. */
function decoded(address: string): string | undefined {
  try {
    return decodeURIComponent(address);
  } catch {
    return undefined;
  }
}

/**
 * Whether a request to a local address also names it: otherwise another page could read the answers under a name of its
 * own (DNS rebinding).
 */
function isAllowedHost(requested: string | undefined, host: string): boolean {
  const isLocal = (name: string) => /^(localhost|127(\.\d+){3}|\[?::1\]?)$/.test(name);
  return !isLocal(host) || isLocal((requested ?? "").replace(/:\d+$/, ""));
}
