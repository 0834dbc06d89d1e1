// SPDX-License-Identifier: Apache-2.0
// The HTTP endpoints: /metrics, /healthz (the event loop turns), /readyz (both halves can serve), /status (JSON, for the
// command line), /names (for NAT64s elsewhere) and the page, which others make.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { formatEndpoint } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import { HttpConnections } from './http-connections.ts';
import type { Metrics } from './metrics.ts';
import { isReady, readyText, type ServiceStatus } from './status.ts';

export interface HttpOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly metrics: Metrics;
  /** Asked at every request for /readyz and /status. */
  readonly status: () => ServiceStatus;
  /** Asked for /names, with what its query says to begin after, and the Authorization header. */
  readonly names?: (after: string, authorization: string | undefined) => HttpReply;
  /** Asked for paths that are none of these, with the Host header; undefined: there is nothing there. */
  readonly page?: (path: string, host: string | undefined) => HttpReply | undefined;
}

export interface HttpReply {
  readonly code: number;
  readonly type?: string;
  /** Beside those that every reply has. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

// An import of node:http reads all that it exports, undici's WebSocket as well, which takes 12 MiB.
const { createServer } = process.getBuiltinModule('node:http');

const TEXT = 'text/plain; charset=utf-8';
const REQUEST_TIMEOUT_MS = 10_000;
/** Until a request has been told of whole; also how long a connection may say nothing at all. */
const HEADERS_TIMEOUT_MS = 5_000;
/** How late a deadline may be noticed. */
const CHECK_INTERVAL_MS = 1_000;

export class HttpEndpoint {
  /** The port it listens on, which differs from the one asked for when that was 0. */
  readonly port: number;
  readonly #server: Server;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  /** Rejects with G64_LISTEN when the address cannot be had. */
  static async start(options: HttpOptions): Promise<HttpEndpoint> {
    const server = createServer(
      {
        requestTimeout: REQUEST_TIMEOUT_MS,
        headersTimeout: HEADERS_TIMEOUT_MS,
        connectionsCheckingInterval: CHECK_INTERVAL_MS,
      },
      (request, response) => {
        void answer(options, request, response);
      },
    );
    // One that does not take its answer in.
    server.setTimeout(REQUEST_TIMEOUT_MS);
    new HttpConnections().watch(server);
    await listen(server, options.listen);
    const address = server.address();
    return new HttpEndpoint(
      server,
      typeof address === 'object' && address !== null ? address.port : options.listen.port,
    );
  }

  /** Stops listening and closes what is open. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function listen(server: Server, at: HttpOptions['listen']): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'EADDRINUSE' ? 'the address is in use' : cause.message;
      reject(
        new Gate64Error('G64_LISTEN', `http.listen ${formatEndpoint(at)} cannot be opened: ${why}`, {
          cause,
          hint: 'free the port, or set http.listen to another address and port',
        }),
      );
    });
    server.listen({ host: at.host, port: at.port }, resolve);
  });
}

async function answer(options: HttpOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const reply = await replyTo(options, request).catch((error: unknown): HttpReply => ({
    code: 500,
    body: error instanceof Error ? error.message : String(error),
  }));
  const body = Buffer.from(reply.body.endsWith('\n') ? reply.body : `${reply.body}\n`);
  response.writeHead(reply.code, {
    'content-type': reply.type ?? TEXT,
    'content-length': body.length,
    'cache-control': 'no-store',
    ...reply.headers,
    ...(reply.code === 405 ? { allow: 'GET, HEAD' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

async function replyTo(options: HttpOptions, request: IncomingMessage): Promise<HttpReply> {
  if (request.method !== 'GET' && request.method !== 'HEAD') return { code: 405, body: 'only GET and HEAD' };
  const [path = '/', query = ''] = (request.url ?? '/').split('?', 2);
  switch (path) {
    case '/metrics':
      return { code: 200, type: options.metrics.contentType, body: await options.metrics.text() };
    // That this runs is the answer: a blocked event loop would not get here.
    case '/healthz':
      return { code: 200, body: 'ok' };
    case '/readyz': {
      const status = options.status();
      return { code: isReady(status) ? 200 : 503, body: readyText(status) };
    }
    case '/status':
      return { code: 200, type: 'application/json', body: JSON.stringify(options.status()) };
    case '/names': {
      const after = new URLSearchParams(query).get('after') ?? '';
      return options.names?.(after, request.headers.authorization) ?? { code: 404, body: 'no names are here' };
    }
    default: {
      const known = '/metrics, /healthz, /readyz and /status; the page at / is served by http.page';
      return options.page?.(path, request.headers.host) ?? { code: 404, body: `not found; there are ${known}` };
    }
  }
}
