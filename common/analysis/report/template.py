"""Page of the report as a jinja2 template (a Python string: stations carry no html files)."""

from __future__ import annotations

from typing import Final

from jinja2 import Environment, StrictUndefined

from common.analysis.report.assets import CSS, JAVASCRIPT

_MACROS: Final = """
{%- macro key_of(cell) -%}
{%- if cell.missing %} data-sort="Infinity"
{%- elif cell.sort is not none %} data-sort="{{ cell.sort }}"{% endif -%}
{%- endmacro %}
{%- macro cell_of(cell, numeric) -%}
<td class="{{ 'number' if numeric }}{{ ' missing' if cell.missing }}{{ ' best' if cell.best }}
{{- ' short' if cell.text|length < 20 }}"
{{- key_of(cell) }}>{{ cell.text }}</td>
{%- endmacro %}
{%- macro row_of(row, columns) -%}
<tr><th scope="row"{{ key_of(row[0]) }}>{{ row[0].text|replace('_', '_<wbr>'|safe) }}</th>
{%- for cell in row[1:] %}{{ cell_of(cell, columns[loop.index][1]) }}{% endfor %}</tr>
{% endmacro %}
{%- macro show_table(table) %}
<div class="table"><h3 class="title">{{ table.caption }}</h3>
<div class="scroll" role="region" tabindex="0" aria-label="{{ table.caption }}">
<table class="sortable" aria-label="{{ table.caption }}">
<thead><tr>
{%- for name, numeric in table.columns -%}
{%- set class = ' class="number"'|safe if numeric else '' -%}
<th scope="col" aria-sort="none"{{ class }}><button type="button"{{ class }}>
{{- name or 'name' }}</button></th>
{%- endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}{{ row_of(row, table.columns) }}{% endfor -%}
</tbody>
{%- if table.foot %}<tfoot>
{% for row in table.foot %}{{ row_of(row, table.columns) }}{% endfor -%}
</tfoot>{% endif %}
</table></div>
{%- for note in table.notes %}<p class="note">{{ note }}</p>{% endfor %}</div>
{%- endmacro %}
{%- macro show_folded(table, summary) %}
<details><summary>{{ summary }}</summary>{{ show_table(table) }}</details>
{%- endmacro %}
{%- macro show_pictures(pictures, class='') %}
{%- if pictures %}<div class="pictures {{ class }}">
{% for one in pictures -%}
<figure>{{ one.svg|safe }}<figcaption>{{ one.caption }}</figcaption></figure>
{% endfor %}</div>{% endif %}
{%- endmacro %}
"""

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>{{ title }}</title>
<style>{{ css|safe }}</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{% for banner in banners %}
<div class="banner{{ ' severe' if banner.severe }}" role="note">
<strong>{{ banner.heading }}.</strong>{{ banner.sentence }}</div>
{% endfor %}
<div class="cards">
{% for card in cards %}<div class="card"><div class="name">{{ card.name }}</div>
<div class="value">{{ card.value }}</div><div class="more">{{ card.more }}</div></div>
{% endfor %}</div>
<nav aria-label="Sections">
{% for id, name in sections %}<a href="#{{ id }}">{{ name }}</a>
{% endfor %}</nav>
</header>
<main>
<section id="findings"><h2>Key findings</h2>
{% if findings.sentences %}<ul class="findings">
{% for sentence in findings.sentences %}<li>{{ sentence }}</li>
{% endfor %}</ul>{% else %}<p>No result to draw a finding from.</p>{% endif %}
{% if findings.caveats %}<h3>What stands between these numbers and a conclusion</h3>
<ul class="findings">
{% for sentence in findings.caveats %}<li>{{ sentence }}</li>
{% endfor %}</ul>{% endif %}
{% if missing %}<h3>Missing results</h3><ul class="findings">
{% for note in missing %}<li>{{ note }}</li>
{% endfor %}</ul><p class="note">Missing results are left out, never filled in.</p>{% endif %}
</section>

<section id="runs"><h2>What was run, and on what</h2>
{{ show_table(run_table) }}
</section>

<section id="headline"><h2>{{ 'Comparison' if several else 'Results' }}</h2>
{{ show_table(headline) }}
<p class="note">Statistics over the categories{% if several %} that all methods have{% endif %}.
{%- if several and reference %} The gap is the distance of a method's mean from that of
{{ reference }}, in percent of the latter.{% endif %}
{%- if averaged %} Methods with several runs show the mean over their seeds.{% endif %}</p>
{{ show_pictures(pictures) }}
</section>

<section id="categories"><h2>By category</h2>
{% for table in category_tables %}{{ show_table(table) }}{% endfor %}
{% if folded_tables %}<details><summary>Other FPR limits, average precision, pixel AUROC</summary>
{% for table in folded_tables %}{{ show_table(table) }}{% endfor %}</details>{% endif %}
</section>

<section id="curves"><h2>Curves</h2>
{% if curves %}<p class="note">The area under each curve up to an FPR limit, divided by the limit,
is the AUC-sPRO at that limit.{% if averaged %} Of several seeds the first is drawn.{% endif %}</p>
{{ show_pictures(curves, 'small') }}{% else %}<p>No curve was written by these runs.</p>{% endif %}
</section>

<section id="defects"><h2>By kind and type of defect</h2>
{% if defect_tables %}{% for table in defect_tables %}{{ show_table(table) }}{% endfor %}
{% else %}<p>No results by kind or type of defect were recorded.</p>{% endif %}
</section>

<section id="thresholds"><h2>Thresholds</h2>
{% if thresholds %}<p>A part is called defective if its score lies above the threshold. The
threshold comes from good images that were kept out of the bank; few such images can promise
little.</p>{{ show_table(thresholds) }}
{% if station_thresholds %}{{ show_table(station_thresholds) }}{% endif %}
{% else %}<p>No threshold was recorded.</p>{% endif %}
</section>

<section id="statistics"><h2>Is the difference real?</h2>
{% if statistics %}
<ul class="findings">{% for sentence in statistics.sentences %}<li>{{ sentence }}</li>
{% endfor %}</ul>
{{ show_table(statistics.table) }}
<details><summary>How to read these tests</summary><dl>
<dt>p</dt><dd>How often chance alone would give a difference at least this large, if the two methods
were equally good. Small means hard to explain by chance; large does not mean equal.</dd>
<dt>Paired t-test</dt><dd>On the mean difference; assumes differences that scatter normally.</dd>
<dt>Wilcoxon signed-rank, sign-flip permutation</dt><dd>On ranks, and on the differences
themselves; exact for few categories, no normal scatter assumed. With n categories neither can go
below 2 / 2<sup>n</sup>.</dd>
<dt>Holm</dt><dd>Corrects p-values for asking about several methods at once.</dd>
<dt>Cohen's d, d_z</dt><dd>The mean difference in standard deviations: pooled over the categories of
both methods (below 0.2 negligible, 0.5 small, 0.8 medium, else large), and of the differences. In
brackets a 95 % bootstrap interval over categories.</dd>
<dt>Verdict</dt><dd>“Significant” only if every test agrees after correction.</dd></dl></details>
{% else %}<p>{{ no_statistics }}</p>{% endif %}
</section>

<section id="stations"><h2>Who took part</h2>
<p>{{ participation }}</p>
{% if absent_table %}{{ show_table(absent_table) }}{% endif %}
{% if station_table %}{{ show_folded(station_table, 'Everyone who was asked') }}{% endif %}
{% if influence_table %}{{ show_table(influence_table) }}{% endif %}
{% for one in contributions %}{% if loop.length > 2 %}<details><summary>{{ one.name }}</summary>
{{ show_table(one.table) }}{{ show_pictures(one.pictures) }}</details>{% else %}
{{ show_table(one.table) }}{{ show_pictures(one.pictures) }}{% endif %}{% endfor %}
{% if averaged %}<p class="note">Of several seeds the first is drawn.</p>{% endif %}
{% if notices %}<h3>Notices of the runs</h3><ul class="findings">
{% for notice in notices %}<li>{{ notice }}</li>
{% endfor %}</ul>{% endif %}
</section>

<section id="gallery"><h2>Best and worst cases</h2>
{% if gallery %}{% for group, pictures in gallery %}<h3>{{ group }}</h3>
<div class="pictures">{% for one in pictures %}<figure>
<img src="{{ one.source }}" alt="{{ one.title }}">
<figcaption><strong>{{ one.title }}</strong> {{ one.text }}</figcaption></figure>
{% endfor %}</div>
{% endfor %}{% else %}<p>{{ no_gallery }}</p>{% endif %}
</section>

<section id="settings"><h2>Settings, time and versions</h2>
{% if time_table %}{{ show_table(time_table) }}{% else %}<p>No times were recorded.</p>{% endif %}
{% if settings_table %}{{ show_folded(settings_table, 'All settings') }}
{% else %}<p>No settings were recorded.</p>{% endif %}
{% if versions_table %}{{ show_folded(versions_table, 'Versions') }}{% endif %}
</section>

<section id="repeat"><h2>How to repeat it</h2>
<p>DATA stands for the data folder.{% if synthetic %} <code>fedpatchcore synth DATA</code> makes a
synthetic one.{% endif %}{% if plant %} SUPERLINK stands for the plant's connection in Flower's
configuration.{% endif %} Settings that are not named have their defaults.</p>
{% for what, command in commands %}<p class="note">{{ what }}</p>
<pre><code>{{ command }}</code></pre>
{% endfor %}
</section>

<section id="words"><h2>What the numbers mean</h2><dl>
<dt>AUC-sPRO at an FPR limit</dt><dd>How much of each defect is found, each defect counting
alike and as fully found once its saturation area is covered, averaged over the false-positive
rates (FPR, the share of normal pixels called defective) from 0 to the limit. 1 is perfect.</dd>
<dt>Image AUROC</dt><dd>How often a defective image gets a higher score than a good one. 0.5 is
chance, 1 is perfect.</dd>
<dt>Structural, logical</dt><dd>Damage to a part; a part that is missing, wrong or misplaced.</dd>
<dt>Bank rows</dt><dd>Patch features in the memory bank that every image is compared with.</dd>
<dt>Radius</dt><dd>The farthest that any training patch lies from the bank: smaller covers
better.</dd>
</dl></section>
</main>
<footer>{{ made }}</footer>
<script>{{ javascript|safe }}</script>
</body>
</html>
"""


def render_page(context: dict[str, object]) -> str:
    """Fill the page in.

    Parameters
    ----------
    context : dict
        Every name that the template uses; one that is absent is an error.

    Returns
    -------
    str
        The page. Everything but style sheet, script and SVG pictures is escaped.
    """
    environment = Environment(  # autoescape: names and reasons come from stations
        autoescape=True, undefined=StrictUndefined, trim_blocks=False, lstrip_blocks=True
    )
    template = environment.from_string(_MACROS + _PAGE)
    page = template.render(css=CSS, javascript=JAVASCRIPT, **context)
    return page.lstrip()
