// SPDX-License-Identifier: Apache-2.0
// Events of Kubernetes (events.k8s.io/v1), written about the pod that gate64 runs in, with the token of its service account.

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const TIMEOUT_MS = 5000;
/** Of the API, in octets. */
const MAX_NOTE = 1024;

export interface ClusterEvent {
  readonly reason: string;
  readonly type: 'Normal' | 'Warning';
  /** What gate64 did. */
  readonly action: string;
  readonly note: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

export class EventApi {
  readonly #environment: Environment;
  readonly #account: string;

  /** `account`: the folder with token, ca.crt and namespace. */
  constructor(environment: Environment = process.env, account: string = ACCOUNT) {
    this.#environment = environment;
    this.#account = account;
  }

  /** Rejects when the API does not take it within some seconds, or where there is no token. */
  async post(event: ClusterEvent): Promise<void> {
    const {
      KUBERNETES_SERVICE_HOST: host,
      KUBERNETES_SERVICE_PORT: port = '443',
      POD_NAME,
      POD_UID,
    } = this.#environment;
    const { POD_NAMESPACE, NODE_NAME } = this.#environment;
    // Read each time: the kubelet changes the token about once an hour.
    const [token, ca, own] = await Promise.all(['token', 'ca.crt', 'namespace'].map((name) => this.#read(name)));
    const namespace = POD_NAMESPACE ?? own ?? '';
    const pod = POD_NAME ?? this.#environment['HOSTNAME'] ?? 'gate64';
    const uid = POD_UID === undefined ? {} : { uid: POD_UID };
    const node = { apiVersion: 'v1', kind: 'Node', name: NODE_NAME };
    const body = JSON.stringify({
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name: `${pod}.${randomBytes(8).toString('hex')}`, namespace },
      // The API wants microseconds.
      eventTime: new Date().toISOString().replace('Z', '000Z'),
      reportingController: 'gate64',
      reportingInstance: pod.slice(0, 128),
      ...event,
      note: cut(event.note),
      regarding: { apiVersion: 'v1', kind: 'Pod', namespace, name: pod, ...uid },
      ...(NODE_NAME === undefined ? {} : { related: node }),
    });
    await new Promise<void>((resolve, reject) => {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      const path = `/apis/events.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/events`;
      const headers = {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
      };
      // No agent: a connection of its own, which leaves nothing open.
      // Node 24.17 and later find no IPv6 address in a certificate (nodejs/node#64144); this name is in that of every cluster.
      const named = isIPv6(host ?? '') ? { servername: 'kubernetes.default.svc' } : {};
      const options = { host, port, ca, path, headers, method: 'POST', signal, agent: false, ...named };
      const sent = request(options, (response) => {
        response.resume();
        const { statusCode = 0 } = response;
        if (statusCode >= 200 && statusCode < 300) resolve();
        else reject(new Error(`the Kubernetes API answers ${statusCode}`));
      });
      sent.on('error', reject);
      sent.end(body);
    });
  }

  async #read(name: string): Promise<string> {
    return (await readFile(join(this.#account, name), 'utf8')).trim();
  }

  /** Whether there is an API, and a token for it. */
  async isThere(): Promise<boolean> {
    if (this.#environment['KUBERNETES_SERVICE_HOST'] === undefined) return false;
    return this.#read('token').then(
      () => true,
      () => false,
    );
  }
}

function cut(note: string): string {
  const bytes = Buffer.from(note);
  if (bytes.length <= MAX_NOTE) return note;
  // A character that was cut through becomes three octets.
  return `${bytes
    .subarray(0, MAX_NOTE - 6)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')}…`;
}
