// SPDX-License-Identifier: Apache-2.0
// How the page looks: light or dark as the reader's system is, one column on a narrow screen. Contrast: WCAG 2.2 AA.

export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f8fa; --card: #fff; --text: #1b1f24; --quiet: #57606a; --line: #d0d7de;
  --good: #116329; --bad: #a40e26; --warn: #7d4e00; --accent: #0550ae; --fill: #ddf4ff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0d1117; --card: #161b22; --text: #e6edf3; --quiet: #9da7b3; --line: #3d444d;
    --good: #56d364; --bad: #ff7b72; --warn: #e3b341; --accent: #79c0ff; --fill: #12304f;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 76rem; margin: 0 auto; padding: 0 1rem; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; padding-top: 1rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 0 0 .5rem; }
main { display: grid; gap: 1rem; grid-template-columns: minmax(0, 1fr); margin-top: 1rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .9rem 1rem; min-width: 0; }
@media (min-width: 60rem) {
  main { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .wide { grid-column: 1 / -1; }
}
footer { color: var(--quiet); padding-top: 1rem; padding-bottom: 1.5rem; }
p { margin: 0 0 .5rem; }
.quiet, caption, small { color: var(--quiet); }
.good { color: var(--good); }
.bad { color: var(--bad); }
.warn { color: var(--warn); }
.state { margin: 0; font-size: 1.15rem; font-weight: 600; }
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: .5rem; background: var(--card); padding: .25rem .5rem; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--quiet); border-radius: .4rem; padding: .15rem .7rem; cursor: pointer; }
#note { margin: 0; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1rem; margin: 0; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .95em; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .35rem; }
caption span { position: sticky; left: 0; display: inline-block; max-width: calc(100vw - 4.5rem); }
th code { white-space: nowrap; }
div.warn { white-space: nowrap; font-size: .9em; }
th, td { text-align: left; vertical-align: top; padding: .3rem .65rem .3rem 0; border-top: 1px solid var(--line); }
thead th { font-weight: 600; border-top: 0; vertical-align: bottom; white-space: nowrap; }
tbody th { font-weight: 400; }
th:last-child, td:last-child { padding-right: 0; }
.number { text-align: right; white-space: nowrap; }
.address, .name { font-family: ui-monospace, monospace; font-size: .9em; }
.address { white-space: nowrap; }
.name { overflow-wrap: anywhere; min-width: 11rem; }
.words { min-width: 14rem; }
ul { list-style: none; margin: 0; padding: 0; }
li + li { margin-top: .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
ul + p { margin-top: .75rem; }
li p { margin: 0; overflow-wrap: anywhere; }
code { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
figure { margin: 0 0 .75rem; }
.plot { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0 .5rem; }
.plot svg { width: 100%; height: 9rem; display: block; border-left: 1px solid var(--line); border-bottom: 1px solid var(--line); }
.scale, .times { color: var(--quiet); display: flex; justify-content: space-between; font-size: .85em; }
.scale { flex-direction: column; text-align: right; }
.times { grid-column: 2; }
.area { fill: var(--fill); }
.curve { fill: none; stroke: var(--accent); stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
`;
