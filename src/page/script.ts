// SPDX-License-Identifier: Apache-2.0
// The page's script, which keeps the figures fresh. Without it the page is loaded anew now and then.

export const REFRESH_SECONDS = 5;

/**
 * Puts in what changed only, so that the place of a reader, of a keyboard and of a screen reader stays; what is put in comes
 * escaped from the service. Ends nothing and asks for nothing but page.json.
 */
export const SCRIPT = `
'use strict';
const note = document.getElementById('note');
const button = document.getElementById('pause');
let isPaused = false;
button.hidden = false;
button.addEventListener('click', () => {
  isPaused = !isPaused;
  button.setAttribute('aria-pressed', String(isPaused));
  if (!isPaused) void refresh();
});
function put(id, text) {
  const place = document.getElementById(id);
  if (place === null) return;
  const fresh = place.cloneNode(false);
  fresh.innerHTML = text;
  if (fresh.isEqualNode(place)) return;
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const left = focused === null ? 0 : focused.scrollLeft;
  place.replaceChildren(...fresh.childNodes);
  const again = focused === null ? null : document.getElementById(focused.id);
  if (again === null) return;
  again.focus({ preventScroll: true });
  again.scrollLeft = left;
}
async function refresh() {
  try {
    const response = await fetch('/page.json', { signal: AbortSignal.timeout(4000) });
    if (!response.ok) throw new Error('it answered ' + response.status);
    const { html, at, ready } = await response.json();
    document.title = ready ? 'gate64: ready' : 'gate64: not ready';
    for (const [id, text] of Object.entries(html)) put(id, text);
    note.textContent = 'As of ' + at.slice(11, 19) + ' UTC';
    note.className = 'quiet';
  } catch (error) {
    note.textContent = 'gate64 does not answer (' + error.message + '); these figures are old.';
    note.className = 'bad';
  }
}
setInterval(() => {
  if (!isPaused && !document.hidden && getSelection().isCollapsed) void refresh();
}, ${REFRESH_SECONDS * 1000});
`;
