// SPDX-License-Identifier: Apache-2.0
// One gate64 a network namespace: an abstract UNIX socket, which the kernel takes away with the process that held it.

import { createServer, type Server } from 'node:net';
import { Gate64Error } from '../errors.ts';

const ADDRESS = '\0gate64';

/** Throws G64_ALREADY_RUNNING while another process holds it. */
export async function takeInstanceLock(hint: string): Promise<Disposable> {
  const server: Server = createServer((connection) => connection.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EADDRINUSE') return reject(cause);
      reject(new Gate64Error('G64_ALREADY_RUNNING', 'a gate64 service runs on this node already', { cause, hint }));
    });
    server.listen({ path: ADDRESS }, resolve);
  });
  server.unref();
  return { [Symbol.dispose]: () => void server.close() };
}
