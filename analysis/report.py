"""One page that a reviewer can check: the verdict, figures, tables, what failed, what was run and how to repeat it.

The same tables are written as Markdown (report.md) and for papers (tables/*.tex, with booktabs).
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml
from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup, escape

from analysis import files, gallery, readings, report_tables
from analysis.blocks import independent, seed_variance
from analysis.choice import best_configurations
from analysis.drawing import Drawing
from analysis.headline import headline, limitations
from analysis.plots.style import NARROW
from analysis.record import read
from analysis.report_tables import FAILED, Table, escape_latex, escape_markdown
from analysis.summary import encoder_summary, summary
from analysis.tables import Run, load

TEMPLATES = Path(__file__).parent / "templates"
FIGURE_FORMATS = ("csv", "pdf", "svg", "png")


class EmbeddedFigure(NamedTuple):
    """A figure on the page."""

    stem: str  # of its files
    title: str
    caption: str
    svg: Markup
    narrow: bool
    kinds: list[str]  # of its files


class Section(NamedTuple):
    """What is said of one run."""

    name: str
    headline: str
    planned: int
    finished: int  # trials; one that several points of a design ask for, several times
    trials: int  # each once, as those are counted that follow
    failed: int  # or diverged
    pruned: int
    limitations: list[str]
    pictures: list[EmbeddedFigure]
    tables: list[Table]
    failures: Table
    study: str
    facts: dict[str, Any]
    command: str


def write_report(folder: str | Path, *, pdf: bool = True) -> Path:
    """Write report.html, report.md, figures/ and tables/ of a run, finished or not, or of a claim; return the page.

    A claim's page has its verdict first. Of several runs it has the tables, and maps and surfaces of two axes; each run
    has a page of its own if asked for. Figures are svg, png and csv, and ``pdf`` if asked for. What is read on test is
    recorded in each run's folder, by `readings.record`.

    Raises:
        FileNotFoundError: the folder is neither.
    """
    folder = Path(folder)
    verdict = read(folder)
    cells = {cell: folder / cell for cell in verdict["cells"]} if verdict else {"": folder}
    runs = {cell: load(place) for cell, place in cells.items()}
    place = folder / "figures"
    drawn = {
        cell: _write_figures(
            chain(gallery.heat_maps(run), gallery.response_surfaces(run)) if cell else gallery.run_figures(run),
            place,
            f"{cell}-" if cell else "",
            pdf=pdf,
        )
        for cell, run in zip(runs, map(independent, runs.values()), strict=True)
    }
    sections = [_build_section(run, drawn[cell], claimed=verdict is not None) for cell, run in runs.items()]
    page: dict[str, Any] = {
        "title": verdict["name"] if verdict else sections[0].name,
        "verdict": verdict,
        "pictures": [_embed_figure(place, **figure) for figure in verdict["figures"]] if verdict else [],
        "effects": report_tables.effects_table(verdict) if verdict else None,
        "sections": sections,
        "command": _repeat_command(sections, verdict),
    }
    _remove_stale_files(
        place, {one.stem for shown in (page["pictures"], *(s.pictures for s in sections)) for one in shown}
    )
    _remove_stale_files(folder / "tables", set())
    for table in _latex_tables(page):
        files.write_atomically(folder / "tables" / f"{table.name}.tex", _render("table.tex", table=table).encode())
    files.write_atomically(folder / "report.md", _render("report.md", **page).encode())
    files.write_atomically(folder / "report.html", _render("report.html", **page).encode())
    return folder / "report.html"


def _build_section(run: Run, pictures: list[EmbeddedFigure], *, claimed: bool) -> Section:
    """Return what is said of a run, and record what that reads on test."""
    whole = independent(run)
    table, beside, parts = summary(whole), encoder_summary(whole), seed_variance(run)
    choices = best_configurations(whole)
    seen = readings.record(whole, choices, table)
    status = run.trials.select("trial", "status").unique("trial").collect()
    looks = len(choices.filter(pl.col("seeds") > 0))
    tables = [report_tables.methods_table(whole, table, looks, claimed=claimed)] if len(table) else []
    tables += [report_tables.encoders_table(run, beside)] if len(beside) else []
    tables += [report_tables.variance_table(run, parts)] if len(parts) else []
    tables += [report_tables.configurations_table(whole)] if run.vary and len(table) else []
    known = ("modalities", "task", "data_sha256")
    return Section(
        name=run.name,
        headline=headline(whole, table),
        planned=run.study["planned"],
        finished=int(run.trials.select(pl.len()).collect().item()),
        trials=len(status),
        failed=len(status.filter(pl.col("status").is_in(FAILED))),
        pruned=len(status.filter(status="pruned")),
        limitations=limitations(whole, table) + readings.warning(whole, seen),
        pictures=pictures,
        tables=tables,
        failures=report_tables.failures_table(run),
        study=yaml.safe_dump(run.study["study"], sort_keys=False, allow_unicode=True),
        facts={
            **(run.study.get("versions") or {}),
            **(run.study.get("machine") or {}),
            **{key: _format_fact(run.study[key]) for key in known if run.study.get(key)},
        },
        command=run.study.get("command", f"ablate run {run.name}"),
    )


def _write_figures(drawings: Iterable[Drawing], place: Path, prefix: str, *, pdf: bool) -> list[EmbeddedFigure]:
    """Write drawings into a folder, and return them for the page."""
    pictures = []
    for drawing in drawings:
        drawing = drawing._replace(stem=f"{prefix}{drawing.stem}")
        drawing.write(place, pdf=pdf)
        pictures.append(_embed_figure(place, drawing.stem, drawing.title, drawing.caption))
    return pictures


def _embed_figure(place: Path, stem: str, title: str, caption: str) -> EmbeddedFigure:
    svg = (place / f"{stem}.svg").read_text("utf-8")
    width = float(svg.partition('width="')[2].partition("pt")[0])
    kinds = [kind for kind in FIGURE_FORMATS if (place / f"{stem}.{kind}").is_file()]
    return EmbeddedFigure(
        stem, title, caption, inline_svg(svg, stem, f"{title}. {caption}"), width < NARROW * 72 + 72, kinds
    )


def inline_svg(svg: str, prefix: str, words: str) -> Markup:
    """Return an SVG as a part of a page: an image that has a text, with ids unlike those of other figures."""
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") + 4 :], flags=re.DOTALL)
    own = re.sub(r"[^\w-]", "-", prefix)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}-", body)
    return Markup(f'<svg role="img" aria-label="{escape(words)}"{body}')  # noqa: S704  matplotlib wrote the rest


def _latex_tables(page: Mapping[str, Any]) -> list[Table]:
    """Return the tables that a paper may show; of several runs each is named and titled by its own."""
    sections = page["sections"]
    found = [page["effects"]] if page["effects"] else []
    for section in sections:
        cell = section.name.rpartition("/")[2]
        found += [
            table._replace(name=f"{cell}-{table.name}", title=f"{table.title} of {cell}")
            if len(sections) > 1
            else table
            for table in section.tables
        ]
    return found


def _repeat_command(sections: list[Section], verdict: Mapping[str, Any] | None) -> str:
    """Return how to repeat it; the runs of a claim may be gone."""
    command = sections[0].command if sections else f"ablate run {verdict['name'] if verdict else ''}"
    return f"{command} --quick" if verdict and verdict["quick"] and sections else command


def _remove_stale_files(folder: Path, kept: set[str]) -> None:
    """Remove what an earlier report has left."""
    for file in folder.glob("*"):
        if file.suffix[1:] in (*FIGURE_FORMATS, "tex") and file.stem not in kept:
            file.unlink()


def _format_fact(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _render(name: str, **content: Any) -> str:
    """Fill a template; that of the page escapes whatever it is given."""
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"latex": escape_latex, "markdown": escape_markdown}
    script = (TEMPLATES / "report.js").read_text("utf-8")
    style = (TEMPLATES / "report.css").read_text("utf-8")
    digest = b64encode(sha256(script.encode()).digest()).decode()  # the only script that a browser may run
    return templates.get_template(name).render(**content, script=script, style=style, digest=digest)
