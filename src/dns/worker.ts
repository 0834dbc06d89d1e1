// SPDX-License-Identifier: Apache-2.0
// A process that answers names for the service, which starts it (worker-process.ts). It ends when told to, or when the
// service is gone; signals that a terminal or a service manager sends to all are the service's to follow.

import { Destinations } from '../addr/destinations.ts';
import { DnsService } from './dns.ts';
import { WorkerOutbox } from './worker-outbox.ts';
import { errorToSend, ofService, type FromWorker, type ToWorker, type WorkerState } from './worker-protocol.ts';

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => process.exit(0));

let dns: DnsService | undefined;
let turn: Promise<void> = Promise.resolve();

const outbox = new WorkerOutbox(send, state);

function send(message: FromWorker, onSent: () => void = () => undefined): void {
  // Without a service to tell there is nothing left to do: 'disconnect' ends this.
  process.send?.(message, undefined, undefined, onSent);
}

function state(): WorkerState | undefined {
  return dns && { isReady: dns.ready(), stats: dns.stats, listeners: dns.listeners };
}

async function follow(message: ToWorker): Promise<void> {
  switch (message.kind) {
    case 'destinations':
      dns?.setDestinations(new Destinations(message.rules));
      return;
    case 'stop':
      await dns?.stop();
      outbox.flush(() => send({ kind: 'done', id: message.id }, () => process.disconnect()));
      return;
    case 'apply': {
      const { id } = message;
      try {
        if (dns) await dns.reload(ofService(message));
        else dns = await DnsService.start({ ...ofService(message), ...OWN });
        const now = state();
        send({ kind: 'done', id, ...(now && { state: now }) });
      } catch (error) {
        send({ kind: 'done', id, error: errorToSend(error) });
      }
    }
  }
}

const OWN = {
  reusePort: true,
  observer: outbox.observer,
  onSynthesized: outbox.onSynthesized,
  log: {
    info: (fields: object, message: string) => send({ kind: 'log', level: 'info', fields, message }),
    warn: (fields: object, message: string) => send({ kind: 'log', level: 'warn', fields, message }),
  },
};

process.on('message', (message: ToWorker) => {
  turn = turn.then(() => follow(message));
});
