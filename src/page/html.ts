// SPDX-License-Identifier: Apache-2.0
// The page as one document, a pure function of its facts; style and script are in it, and allowed by their hashes.

import { createHash } from 'node:crypto';
import type { PageFacts } from './facts.ts';
import { Markup, markup } from './markup.ts';
import { REFRESH_SECONDS, SCRIPT } from './script.ts';
import { SECTIONS, stateText } from './sections.ts';
import { STYLE } from './style.ts';

/** As Content-Security-Policy names them. */
export const STYLE_HASH = hashOf(STYLE);
export const SCRIPT_HASH = hashOf(SCRIPT);

function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}

/** What stands under the heading of each section, by the id of its place. */
export function sectionsHtml(facts: PageFacts): Record<string, string> {
  const sections = SECTIONS.map(({ id, content }) => [`${id}-content`, content(facts).text] as const);
  return Object.fromEntries([['state', stateText(facts).text], ...sections]);
}

export function pageHtml(facts: PageFacts): string {
  const sections = SECTIONS.map(
    ({ id, title, isWide, content }) => markup`<section aria-labelledby="${id}"${isWide ? WIDE : ''}>
<h2 id="${id}">${title}</h2>
<div id="${id}-content">${content(facts)}</div>
</section>
`,
  );
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>gate64: ${facts.ready ? 'ready' : 'not ready'}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<noscript><meta http-equiv="refresh" content="${REFRESH_SECONDS * 3}"></noscript>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the figures</a>
<header>
<h1>gate64</h1>
<p id="state" class="state" role="status">${stateText(facts)}</p>
<p id="note" class="quiet">As of ${facts.at.slice(11, 19)} UTC</p>
<button id="pause" type="button" aria-pressed="false" hidden>Pause</button>
</header>
<main id="main" tabindex="-1">
${sections}</main>
<footer><p>Read-only. The same figures: <code>gate64 status</code>, <code>pool</code>, <code>report</code>, <code>drops --explain</code>, <a href="/metrics">/metrics</a>, <a href="/page.json">/page.json</a>.</p></footer>
<script>${new Markup(SCRIPT)}</script>
</body>
</html>
`.text;
}

const WIDE = new Markup(' class="wide"');
