// SPDX-License-Identifier: Apache-2.0
// The page at `/` of the HTTP listener and its figures at /page.json: read-only, one document, nothing loaded from elsewhere.

import type { Config } from '../config/config.ts';
import type { HttpReply } from '../telemetry/http.ts';
import type { PageFacts } from './facts.ts';
import { gather, type PageSources } from './gather.ts';
import { isHostAllowed, isPageServed } from './hosts.ts';
import { pageHtml, SCRIPT_HASH, sectionsHtml, STYLE_HASH } from './html.ts';
import { SAMPLE_SECONDS, SessionSamples } from './samples.ts';

/** However many look, the data plane is read for them this often. */
const KEEP_MS = 2000;

const HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    `style-src '${STYLE_HASH}'`,
    `script-src '${SCRIPT_HASH}'`,
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
};

export class Page {
  readonly #sources: PageSources;
  readonly #samples: SessionSamples;
  #http: Config['http'];
  #kept: { readonly until: number; readonly facts: PageFacts } | undefined;

  constructor(sources: PageSources, http: Config['http']) {
    this.#sources = sources;
    this.#http = http;
    this.#samples = new SessionSamples(() => sources.datapath()?.counts());
  }

  /** Begins to take samples. */
  start(): void {
    this.#samples.take(Date.now());
    this.#samples.start();
  }

  stop(): void {
    this.#samples.stop();
  }

  configure(http: Config['http']): void {
    this.#http = http;
  }

  /** Undefined for other paths than the page's, and where the page is not served. `now`: milliseconds since the epoch. */
  reply(path: string, host: string | undefined, now: number = Date.now()): HttpReply | undefined {
    if ((path !== '/' && path !== '/page.json') || !isPageServed(this.#http)) return undefined;
    if (!isHostAllowed(host, this.#http.pageHosts)) {
      const body = 'the page is shown at an IP address or at localhost; other names have to stand in http.pageHosts';
      return { code: 421, headers: HEADERS, body };
    }
    const facts = this.#facts(now);
    if (path === '/') return { code: 200, type: 'text/html; charset=utf-8', headers: HEADERS, body: pageHtml(facts) };
    const body = JSON.stringify({ ...facts, html: sectionsHtml(facts) });
    return { code: 200, type: 'application/json', headers: HEADERS, body };
  }

  #facts(now: number): PageFacts {
    if (this.#kept === undefined || now >= this.#kept.until) {
      const facts = { ...gather(this.#sources, now), samples: this.#samples.rows(), sampleSeconds: SAMPLE_SECONDS };
      this.#kept = { until: now + KEEP_MS, facts };
    }
    return this.#kept.facts;
  }
}
