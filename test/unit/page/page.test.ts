// SPDX-License-Identifier: Apache-2.0
// The page: what it says, that hostile text stays text, its headers, and to whom it is shown.

import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { parseConfig } from '../../../src/config/parse.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { pageHtml, sectionsHtml } from '../../../src/page/html.ts';
import { escapeHtml } from '../../../src/page/markup.ts';
import { Page } from '../../../src/page/page.ts';
import { MAX_SAMPLES, SessionSamples } from '../../../src/page/samples.ts';
import type { PageFacts } from '../../../src/page/facts.ts';
import { ended, facts, fullRows, HOSTILE_NAMES, LONG_NAME, NOW, PageReader, SERVICE, sources } from './facts.ts';

const http = (text = '{}') => parseConfig(`http: ${text}`, 'gate64.yaml').http;

describe('page: text', () => {
  for (const name of HOSTILE_NAMES) {
    it(`${escapeHtml(name.slice(0, 40))} stays text`, () => {
      const empty = pageHtml(facts({ ended: () => ended(['a.example']) }));
      const page = pageHtml(facts({ ended: () => ended([name]) }));
      const tags = (text: string) => text.match(/<[a-z!/][^>]*>/gi)?.map((tag) => tag.replace(/ title="[^"]*"/, ''));
      expect(tags(page)).to.deep.equal(tags(empty));
      // eslint-disable-next-line no-control-regex
      expect(page).to.match(/^[\n\x20-\x7e\xa0-\u{10ffff}]*$/u);
      expect(page.isWellFormed()).to.equal(true);
      expect(page).not.to.match(/[\u200b\u202a-\u202e\u2066-\u2069]/);
    });
  }

  it('what cannot be seen is shown by its number', () => {
    expect(escapeHtml('a\u202eb\0')).to.equal('a\\u{202e}b\\u{0}');
    expect(escapeHtml(`<&"'>`)).to.equal('&lt;&amp;&quot;&#39;&gt;');
  });

  it('of a long name the end is shown, and the whole in its title', () => {
    const page = pageHtml(facts({ ended: () => ended([LONG_NAME]) }));
    expect(page).to.contain(`title="${escapeHtml(LONG_NAME)}">…${escapeHtml(LONG_NAME.slice(-63))}<`);
  });
});

describe('page: figures', () => {
  const full = facts();

  it('sums names and pods over sessions that ended and that run', () => {
    const { names, pods, nameCount, podCount, hasRunning } = full.usage;
    expect([names.length, pods.length, nameCount, podCount, hasRunning]).to.deep.equal([10, 10, 11, 10, true]);
    expect(pods[0]).to.include({ pod: '2001:db8::5', sessions: 102, sessionsNow: 2, names: 2 });
  });

  it('shows pool, drops with what they mean, and findings with their time', () => {
    const html = sectionsHtml(full);
    expect(html['pool-content']).to.match(/192\.0\.2\.2<\/span><div class="warn">left the pool/);
    expect(html['drops-content']).to.match(/dst_never.*12.*cloud metadata.*1m5s ago/s);
    expect(html['findings-content']).to.match(/warning: pool-ports-ephemeral.*&lt;192.*6m40s ago/s);
    expect(html['sessions-content']).to.match(/Sessions over the last .*: 2 now/);
  });

  it('does not walk a table of very many sessions', () => {
    const reader = new PageReader(fullRows());
    reader.counts = () => ({ sessions: { tcp: 500_000, udp: 0, icmp: 0 }, bindings: { tcp: 9, udp: 0, icmp: 0 } });
    reader.sessions = () => expect.fail('it was walked');
    reader.pods = () => [];
    const { usage } = facts({ datapath: () => reader });
    expect([usage.hasRunning, usage.nameCount]).to.deep.equal([false, HOSTILE_NAMES.length]);
  });

  const states: [string, PageFacts, RegExp][] = [
    [
      'nothing yet',
      facts({ datapath: () => undefined, look: () => undefined, ended: () => [] }, 0),
      /no data plane.*No pod has used NAT64 yet/s,
    ],
    [
      'an empty data plane',
      facts({ datapath: () => new PageReader(), ended: () => [] }, 1),
      /pool is empty.*No packet/s,
    ],
    ['no finding', facts({ look: () => ({ at: NOW, findings: [] }) }), /Nothing was wrong/],
    [
      'not ready',
      facts({ status: () => ({ ...SERVICE, nat64: { ...SERVICE.nat64, ready: false, reasons: ['<why>'] } }) }),
      /✗ Not ready.*not ready: &lt;why&gt;/s,
    ],
    ['draining', facts({ status: () => ({ ...SERVICE, draining: true }) }), /✗ Not ready: draining/],
    [
      'a data plane that cannot be read',
      facts({
        datapath: () => {
          throw new Gate64Error('G64_DATAPATH_MISSING', 'the <maps> are gone');
        },
      }),
      /the &lt;maps&gt; are gone/,
    ],
  ];
  for (const [title, given, expected] of states) {
    it(`${title}: says so`, () => {
      expect(pageHtml(given)).to.match(expected);
    });
  }

  it('keeps an hour of samples', () => {
    const reader = new PageReader(fullRows());
    const samples = new SessionSamples(() => reader.counts());
    for (let i = 0; i < MAX_SAMPLES + 5; i++) samples.take(NOW + i * 10_000);
    expect(samples.rows()).to.have.length(MAX_SAMPLES);
    expect(samples.rows()[0]?.at).to.equal(new Date(NOW + 50_000).toISOString());
  });
});

describe('page: answers', () => {
  const page = new Page(sources(), http());

  it('allows what is in the document and nothing else', () => {
    const reply = page.reply('/', '127.0.0.1:9164');
    const policy = reply?.headers?.['content-security-policy'] ?? '';
    const hashes = ['style', 'script'].map((tag) => {
      const text = new RegExp(`<${tag}>(.*?)</${tag}>`, 's').exec(reply?.body ?? '')?.[1] ?? '';
      return `${tag}-src 'sha256-${createHash('sha256').update(text).digest('base64')}'`;
    });
    expect(policy.split('; ')).to.include.members(["default-src 'none'", "frame-ancestors 'none'", ...hashes]);
    expect(policy).not.to.contain('unsafe');
    expect(reply?.body).not.to.match(/ style=| on[a-z]+="/);
  });

  it('/page.json has the figures, and the parts that the script puts in', () => {
    const json = JSON.parse(page.reply('/page.json', 'localhost')?.body ?? '') as PageFacts & { html: object };
    expect(json.datapath?.sessions).to.deep.equal({ tcp: 1, udp: 1, icmp: 0 });
    const document = page.reply('/', 'localhost')?.body ?? '';
    for (const id of Object.keys(json.html)) expect(document).to.contain(`id="${id}"`);
  });

  const served: [string, boolean][] = [
    ['{}', true],
    ['{ listen: "[::1]:9164" }', true],
    ['{ listen: "[::]:9164" }', false],
    ['{ listen: "192.0.2.1:9164" }', false],
    ['{ listen: "[::]:9164", page: true }', true],
    ['{ page: false }', false],
  ];
  for (const [text, expected] of served) {
    it(`http: ${text} ${expected ? 'serves' : 'does not serve'} it`, () => {
      expect(new Page(sources(), http(text)).reply('/', 'localhost')?.code).to.equal(expected ? 200 : undefined);
    });
  }

  const named = new Page(sources(), http('{ pageHosts: [Gate64.example] }'));
  const hosts: [string | undefined, number][] = [
    ['127.0.0.1:9164', 200],
    ['[::1]:9164', 200],
    ['localhost', 200],
    ['LOCALHOST:80', 200],
    ['gate64.EXAMPLE:9164', 200],
    ['evil.example', 421],
    ['localhost.evil.example', 421],
    ['127.0.0.1.evil.example', 421],
    ['[::1].evil.example', 421],
    ['', 421],
    [undefined, 421],
  ];
  for (const [host, code] of hosts) {
    it(`Host ${host ?? 'left out'}: ${code}`, () => {
      for (const path of ['/', '/page.json']) expect(named.reply(path, host)?.code).to.equal(code);
    });
  }
});
