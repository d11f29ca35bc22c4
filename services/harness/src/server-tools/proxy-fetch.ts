/**
 * One GET through the egress proxy: the only way out. The session token goes to the proxy and nowhere else. https
 * goes through a CONNECT tunnel, so that the proxy sees the host and not the bytes; http in absolute form.
 */
import http from "node:http";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { AppError } from "@manyhands/kit";

/** A response, its body cut at the bound. */
export interface Fetched {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
  readonly isCut: boolean;
}

/** What a GET needs. */
export interface ProxyFetchOptions {
  readonly proxyUrl: URL;
  readonly token: string;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

const headers = { accept: "text/html, text/plain, application/json, */*;q=0.5", "user-agent": "manyhands-web-fetch/1" };

/** Asks for a URL. AppError `denied` when the proxy refuses the host, `unavailable` when it cannot be reached. */
export async function proxyFetch(url: URL, options: ProxyFetchOptions): Promise<Fetched> {
  const { proxyUrl, token, signal } = options;
  const authorization = { "proxy-authorization": `Bearer ${token}` };
  if (url.protocol === "http:") {
    const target = { host: proxyUrl.hostname, port: proxyUrl.port, path: url.href, agent: false as const, signal };
    return await answerOf(
      http.request({ ...target, headers: { ...headers, host: url.host, ...authorization } }),
      options,
    );
  }
  const socket = await tunnel(url, options, authorization);
  const secured = connectTls({ socket, servername: url.hostname });
  const target = { host: url.hostname, path: `${url.pathname}${url.search}`, agent: false as const, signal };
  const request = http.request({ ...target, headers: { ...headers, host: url.host }, createConnection: () => secured });
  return await answerOf(request, options);
}

function tunnel(
  url: URL,
  { proxyUrl, signal }: ProxyFetchOptions,
  authorization: Record<string, string>,
): Promise<Socket> {
  const authority = `${url.hostname}:${url.port === "" ? 443 : url.port}`;
  return new Promise((resolve, reject) => {
    const request = http.request({
      host: proxyUrl.hostname,
      port: proxyUrl.port,
      method: "CONNECT",
      path: authority,
      headers: { host: authority, ...authorization },
      agent: false,
      signal,
    });
    request.once("connect", (response, socket) => {
      if (response.statusCode === 200) resolve(socket);
      else {
        socket.destroy();
        reject(refusal(response.statusCode ?? 0, authority));
      }
    });
    request.once("error", (error) => reject(unreachable(error)));
    request.end();
  });
}

function answerOf(request: http.ClientRequest, { maxBytes }: ProxyFetchOptions): Promise<Fetched> {
  return new Promise((resolve, reject) => {
    request.once("error", (error) => reject(unreachable(error)));
    request.once("response", (response) => {
      const status = response.statusCode ?? 0;
      if (status === 407) {
        response.destroy();
        reject(refusal(status, "the host"));
        return;
      }
      const chunks: Buffer[] = [];
      let size = 0;
      const done = (isCut: boolean) => {
        const body = Buffer.concat(chunks).subarray(0, maxBytes);
        resolve({ status, headers: response.headers, body, isCut });
      };
      response.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        size += chunk.length;
        if (size <= maxBytes) return;
        response.destroy();
        done(true);
      });
      response.once("end", () => done(false));
      response.once("error", (error) => reject(unreachable(error)));
    });
    request.end();
  });
}

function refusal(status: number, authority: string): AppError {
  const why =
    status === 407 ? "it did not accept the session's token" : "the session's network policy does not allow it";
  return AppError.denied("EGRESS_REFUSED", `the egress proxy refused ${authority} (${status}): ${why}`);
}

function unreachable(error: Error): AppError {
  return AppError.unavailable("WEB_UNREACHABLE", `the page could not be fetched: ${error.message}`, error);
}
