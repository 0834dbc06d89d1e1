// SPDX-License-Identifier: Apache-2.0
// The page in a browser: its style and script pass its own policy, hostile names run nothing, figures are kept fresh.

import { expect } from 'chai';
import { parseConfig } from '../../../src/config/parse.ts';
import { Page } from '../../../src/page/page.ts';
import { HttpEndpoint } from '../../../src/telemetry/http.ts';
import { Metrics } from '../../../src/telemetry/metrics.ts';
import type { ServiceStatus } from '../../../src/telemetry/status.ts';
import { chromiumPath, dumpDom } from '../../helpers/chromium.ts';
import { NOW, SERVICE, sources } from './facts.ts';

const chromium = chromiumPath();

describe(`page: in Chromium${chromium === undefined ? ' (skipped: the package chromium is not installed)' : ''}`, () => {
  let endpoint: HttpEndpoint;
  let status: ServiceStatus;
  /** What it becomes once the document has been sent. */
  let next: ServiceStatus | undefined;
  let now = NOW;

  before(async function () {
    if (chromium === undefined) return this.skip();
    const page = new Page(sources({ status: () => status }), parseConfig('{}', 'gate64.yaml').http);
    endpoint = await HttpEndpoint.start({
      listen: { host: '127.0.0.1', port: 0 },
      metrics: new Metrics(),
      status: () => status,
      page: (path, host) => {
        // Figures that are kept for a while are old by the next request: the browser's time runs faster than ours.
        const reply = page.reply(path, host, (now += 10_000));
        if (path === '/') status = next ?? status;
        return reply;
      },
    });
  });
  after(() => endpoint?.close());

  const look = (ms: number, more: readonly string[] = []) =>
    dumpDom(chromium ?? '', `http://127.0.0.1:${endpoint.port}/`, ms, more);

  it('runs its script and breaks no rule of its policy', async () => {
    status = SERVICE;
    const { dom, said } = await look(1000);
    expect(said).not.to.match(/Content Security Policy|Uncaught/);
    // The script shows the button.
    expect(dom).to.match(/<button id="pause"[^>]*aria-pressed="false">/);
    expect(dom.match(/<script/g)).to.have.length(1);
    expect(dom).to.contain('&lt;script&gt;alert(1)&lt;/script&gt;').and.not.to.contain('<img');
  }).timeout(60_000);

  it('brings in what changed', async () => {
    status = SERVICE;
    next = { ...SERVICE, draining: true };
    const { dom } = await look(12_000);
    expect(dom).to.match(/role="status"><span class="bad">✗ Not ready: draining/);
    expect(dom).to.match(/<title>gate64: not ready/);
  }).timeout(60_000);
});
