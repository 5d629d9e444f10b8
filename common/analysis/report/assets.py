"""Style sheet and script of the report, inlined into the page: it opens from disk, offline."""

from __future__ import annotations

from typing import Final

from common.analysis.plots.style import page_colors

_COLORS: Final = f"""
:root {{ {page_colors(dark=False)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {page_colors(dark=True)} }} }}
@media print {{ :root {{ {page_colors(dark=False)} }} }}
"""
_RULES: Final = """
:root {
  color-scheme: light dark;
  --font: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  --page: #f4f6f8;
  --link: #0b5cad; --stripe: #f7f9fb; --warn: #fff3d6; --warn-ink: #5b3d00; --warn-rule: #e0a516;
  --bad: #fde7e4; --bad-ink: #7a1609; --bad-rule: #cf4a36;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11151a;
    --link: #8cc4ff; --stripe: #1f262e; --warn: #3a2e0c; --warn-ink: #ffe2a0; --warn-rule: #b58714;
    --bad: #3d1a15; --bad-ink: #ffc9c0; --bad-rule: #c4513f;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 var(--font); }
main, header, footer { max-width: 1220px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 6px; }
h2 { font-size: 1.3rem; margin: 0 0 12px; }
h3 { font-size: 1.02rem; margin: 22px 0 8px; }
p { margin: 0 0 10px; max-width: 78ch; }
a { color: var(--link); }
.lead, .note, figcaption, footer { color: var(--muted); }
.note, figcaption, footer { font-size: .9rem; }
nav { margin: 14px 0 0; display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: .93rem; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 20px 22px; margin: 18px 0; scroll-margin-top: 10px; }
.banner { border-left: 6px solid var(--warn-rule); background: var(--warn); color: var(--warn-ink);
  border-radius: 8px; padding: 10px 16px; margin: 12px 0 0; }
.banner.severe { border-color: var(--bad-rule); background: var(--bad); color: var(--bad-ink); }
.banner strong { margin-right: .4em; }
.cards { display: grid; gap: 12px; margin: 18px 0 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 190px), 1fr)); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 12px 16px; }
.card .name { font-size: .9rem; color: var(--muted); }
.card .value { font-size: 1.8rem; font-weight: 650; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
.card .more { font-size: .88rem; color: var(--muted); }
ul.findings { margin: 0 0 12px; padding-left: 1.2em; max-width: 90ch; }
ul.findings li { margin: 0 0 7px; }
.scroll { overflow-x: auto; border: 1px solid var(--rule); border-radius: 8px; }
.scroll:focus-visible, button:focus-visible, summary:focus-visible, a:focus-visible {
  outline: 3px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
h3.title { font-size: .95rem; margin: 0 0 6px; }
th, td { padding: 6px 10px; text-align: left; border-top: 1px solid var(--rule);
  vertical-align: top; }
thead th { vertical-align: bottom; padding: 0; white-space: normal; }
.number { text-align: right; }
td.number, td.short { white-space: nowrap; }
tbody tr:nth-child(even) > * { background: var(--stripe); }
tbody th, tfoot th { position: sticky; left: 0; background: var(--card); font-weight: 500;
  overflow-wrap: break-word; min-width: 9em; max-width: 16em; }
tfoot td, tfoot th { font-weight: 650; border-top: 2px solid var(--muted); }
td:not(.number):not(.short) { min-width: 12em; }
td.missing { color: var(--muted); font-style: italic; }
td.best { font-weight: 700; }
thead button { all: unset; box-sizing: border-box; cursor: pointer; width: 100%; padding: 7px 10px;
  font-weight: 600; color: var(--muted); }
thead button:hover { color: var(--ink); }
thead button::after { content: "\\a0\\2195"; opacity: .45; }
th[aria-sort=ascending] button::after { content: "\\a0\\2191"; opacity: 1; }
th[aria-sort=descending] button::after { content: "\\a0\\2193"; opacity: 1; }
th[aria-sort=ascending] button, th[aria-sort=descending] button { color: var(--ink); }
.pictures { display: grid; gap: 18px 26px; margin: 16px 0 4px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); align-items: start; }
.pictures.small { grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
figure { margin: 0; min-width: 0; }
figure svg, figure img { width: 100%; height: auto; display: block; max-width: 600px; }
figure img { background: #fefefe; border-radius: 6px; }
details { margin: 12px 0 0; }
summary { cursor: pointer; font-weight: 600; padding: 4px 0; }
pre { background: var(--stripe); border: 1px solid var(--rule); border-radius: 8px;
  margin: 4px 0 12px; padding: 10px 12px; overflow-x: auto; font-size: .86rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
dl { margin: 0; max-width: 90ch; } dt { font-weight: 600; margin-top: 10px; } dd { margin: 0; }
.table { margin: 16px 0 4px; }
footer { padding-top: 4px; padding-bottom: 36px; }
@media (max-width: 640px) {
  main, header, footer { padding-left: 12px; padding-right: 12px; }
  section { padding: 16px 14px; }
  h1 { font-size: 1.4rem; }
  th, td { padding: 5px 8px; }
  thead button { padding: 6px 8px; }
  tbody th, tfoot th { min-width: 7em; max-width: 38vw; }
  .cards { grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); }
  .card .value { font-size: 1.5rem; }
}
@media print {
  :root { color-scheme: light; --page: #fff; --stripe: #fff; --warn: #fff; --warn-ink: #000;
    --bad: #fff; --bad-ink: #000; --link: #000; }
  body { font-size: 10pt; }
  nav, thead button::after { display: none; }
  section { border: 0; padding: 0; margin: 14pt 0; }
  h2, h3 { break-after: avoid; }
  figure, tr, .card, .banner { break-inside: avoid; }
  .scroll { overflow: visible; border: 0; }
  table { font-size: 7.5pt; } th, td, thead button { padding: 2px 4px; }
  tbody th, tfoot th { position: static; }
  .pictures, .pictures.small { grid-template-columns: 1fr 1fr; }
  thead { display: table-header-group; }
}
"""
CSS: Final = _RULES + _COLORS

# Sorting by buttons in the headings (so the keyboard works), and all details open on paper.
JAVASCRIPT: Final = """
'use strict';
document.querySelectorAll('table.sortable').forEach(function (table) {
  var headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach(function (heading, column) {
    heading.querySelector('button').addEventListener('click', function () {
      var rising = heading.getAttribute('aria-sort') !== 'ascending';
      headings.forEach(function (other) { other.setAttribute('aria-sort', 'none'); });
      heading.setAttribute('aria-sort', rising ? 'ascending' : 'descending');
      var body = table.tBodies[0];
      var rows = Array.from(body.rows).map(function (row, place) {
        var cell = row.cells[column];
        var number = cell.dataset.sort === undefined ? NaN : Number(cell.dataset.sort);
        return { row: row, place: place, number: number, text: cell.textContent.trim() };
      });
      rows.sort(function (a, b) {
        var order;
        if (Number.isNaN(a.number) || Number.isNaN(b.number)) {
          order = a.text.localeCompare(b.text, undefined, { numeric: true });
        } else if (!Number.isFinite(a.number) || !Number.isFinite(b.number)) {
          // Missing values stay last in both directions.
          return (Number.isFinite(a.number) ? 0 : 1) - (Number.isFinite(b.number) ? 0 : 1) ||
            a.place - b.place;
        } else {
          order = a.number - b.number;
        }
        return (rising ? order : -order) || a.place - b.place;
      });
      rows.forEach(function (entry) { body.appendChild(entry.row); });
    });
  });
});
window.addEventListener('beforeprint', function () {
  document.querySelectorAll('details:not([open])').forEach(function (block) {
    block.open = true; block.dataset.opened = '';
  });
});
window.addEventListener('afterprint', function () {
  document.querySelectorAll('details[data-opened]').forEach(function (block) {
    block.open = false; delete block.dataset.opened;
  });
});
"""
