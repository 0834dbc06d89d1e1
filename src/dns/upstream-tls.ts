// SPDX-License-Identifier: Apache-2.0
// Whom a TLS upstream has to be vouched for by, and under which name (RFC 7858 §3.2, RFC 8310 §8.1).

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import tls, { createSecureContext, type ConnectionOptions, type SecureContext } from 'node:tls';
import type { Upstream } from '../config/config.ts';
import { Gate64Error } from '../errors.ts';

/** TCP stands, TLS does not: the message is why. */
export class TlsFailure extends Error {
  override name = 'TlsFailure';
}

/** The certificates in a PEM file. Throws G64_CONFIG_INVALID, naming the file, when there are none or one is broken. */
export function readAuthorities(path: string): string[] {
  const refuse = (what: string, cause?: unknown) =>
    new Gate64Error('G64_CONFIG_INVALID', `dns.tls.ca: ${path} ${what}`, {
      cause,
      hint: 'it has to hold certificates of authorities, in PEM',
    });
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw refuse('cannot be read', cause);
  }
  const found = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0) throw refuse('has no certificate in it');
  for (const pem of found) {
    try {
      void new X509Certificate(pem);
    } catch (cause) {
      throw refuse('has a certificate that cannot be read', cause);
    }
  }
  return found;
}

/** Those that come with Node.js, those of the system's store, and `authorities`. */
export function trusting(authorities: readonly string[]): SecureContext {
  const all = [...tls.getCACertificates('default'), ...tls.getCACertificates('system'), ...authorities];
  return createSecureContext({ ca: [...new Set(all)] });
}

export function tlsOptions({ endpoint: { host, port }, serverName }: Upstream, context: SecureContext) {
  const options: ConnectionOptions = { host, port, ALPNProtocols: ['dot'], secureContext: context };
  if (serverName !== undefined) return { ...options, servername: serverName };
  // RFC 6066 §3: an address is no server name. tls.checkServerIdentity() compares text, which IPv6 has many forms of.
  const address = host.replace(/%.*$/, '');
  const checkServerIdentity: ConnectionOptions['checkServerIdentity'] = (_, { raw }) =>
    new X509Certificate(raw).checkIP(address) === undefined
      ? new Error(`the certificate does not name ${address}`)
      : undefined;
  return { ...options, servername: '', checkServerIdentity };
}
