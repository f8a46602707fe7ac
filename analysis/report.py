"""Write the report of a run or a claim: verdict, figures, tables, failures, environment and how to repeat it.

It is one HTML page; the same tables are written as Markdown (report.md) and LaTeX (tables/*.tex, with booktabs).
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
from analysis.record import read_verdict
from analysis.report_tables import LOST_STATUSES, Table, escape_latex, escape_markdown
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
    formats: list[str]  # of its files


class RunSection(NamedTuple):
    """The part of a report on one run."""

    name: str
    headline: str
    planned: int
    finished: int  # rows of trials; a trial that several points of a design share counts several times
    trials: int  # distinct ones, as are the next two counts
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

    The page of a claim starts with the verdict, and of several runs has the tables, heat maps and response surfaces;
    a run of a claim can have a report of its own. Figures are written as svg, png and csv, with ``pdf`` also as that.
    Test scores that are read are recorded in each run's folder, by `readings.record_readings`.

    Raises:
        FileNotFoundError: the folder holds neither a run nor a claim.
    """
    folder = Path(folder)
    verdict = read_verdict(folder)
    cells = {cell: folder / cell for cell in verdict["cells"]} if verdict else {"": folder}
    runs = {cell: load(path) for cell, path in cells.items()}
    figures = folder / "figures"
    pictures = {
        cell: write_figures(
            chain(gallery.heat_maps(run), gallery.response_surfaces(run)) if cell else gallery.run_figures(run),
            figures,
            f"{cell}-" if cell else "",
            pdf=pdf,
        )
        for cell, run in zip(runs, map(independent, runs.values()), strict=True)
    }
    sections = [build_section(run, pictures[cell], claimed=verdict is not None) for cell, run in runs.items()]
    page: dict[str, Any] = {
        "title": verdict["name"] if verdict else sections[0].name,
        "verdict": verdict,
        "pictures": [embed_figure(figures, **figure) for figure in verdict["figures"]] if verdict else [],
        "effects": report_tables.effects_table(verdict) if verdict else None,
        "sections": sections,
        "command": repeat_command(sections, verdict),
    }
    shown = [*page["pictures"], *(picture for section in sections for picture in section.pictures)]
    remove_stale_files(figures, {picture.stem for picture in shown})
    remove_stale_files(folder / "tables", set())
    for table in latex_tables(page):
        files.write_atomically(folder / "tables" / f"{table.name}.tex", render("table.tex", table=table).encode())
    files.write_atomically(folder / "report.md", render("report.md", **page).encode())
    files.write_atomically(folder / "report.html", render("report.html", **page).encode())
    return folder / "report.html"


def build_section(run: Run, pictures: list[EmbeddedFigure], *, claimed: bool) -> RunSection:
    """Return the section of a run, and record the test scores that it reads."""
    independent_run = independent(run)
    methods, encoders, variances = summary(independent_run), encoder_summary(independent_run), seed_variance(run)
    choices = best_configurations(independent_run)
    recorded = readings.record_readings(independent_run, choices, methods)
    status = run.trials.select("trial", "status").unique("trial").collect()
    num_read = len(choices.filter(pl.col("seeds") > 0))
    tables = [report_tables.methods_table(independent_run, methods, num_read, claimed=claimed)] if len(methods) else []
    tables += [report_tables.encoders_table(run, encoders)] if len(encoders) else []
    tables += [report_tables.variance_table(run, variances)] if len(variances) else []
    tables += [report_tables.configurations_table(independent_run)] if run.vary and len(methods) else []
    facts = ("modalities", "task", "data_sha256")
    return RunSection(
        name=run.name,
        headline=headline(independent_run, methods),
        planned=run.study["planned"],
        finished=int(run.trials.select(pl.len()).collect().item()),
        trials=len(status),
        failed=len(status.filter(pl.col("status").is_in(LOST_STATUSES))),
        pruned=len(status.filter(status="pruned")),
        limitations=limitations(independent_run, methods) + readings.selection_warning(independent_run, recorded),
        pictures=pictures,
        tables=tables,
        failures=report_tables.failures_table(run),
        study=yaml.safe_dump(run.study["study"], sort_keys=False, allow_unicode=True),
        facts={
            **(run.study.get("versions") or {}),
            **(run.study.get("machine") or {}),
            **{key: format_fact(run.study[key]) for key in facts if run.study.get(key)},
        },
        command=run.study.get("command", f"ablate run {run.name}"),
    )


def write_figures(drawings: Iterable[Drawing], folder: Path, prefix: str, *, pdf: bool) -> list[EmbeddedFigure]:
    """Write drawings into a folder, and return them for the page."""
    pictures = []
    for drawing in drawings:
        drawing = drawing._replace(stem=f"{prefix}{drawing.stem}")
        drawing.write(folder, pdf=pdf)
        pictures.append(embed_figure(folder, drawing.stem, drawing.title, drawing.caption))
    return pictures


def embed_figure(folder: Path, stem: str, title: str, caption: str) -> EmbeddedFigure:
    """Return a figure that was written into a folder, for the page."""
    svg = (folder / f"{stem}.svg").read_text("utf-8")
    width = float(svg.partition('width="')[2].partition("pt")[0])
    formats = [suffix for suffix in FIGURE_FORMATS if (folder / f"{stem}.{suffix}").is_file()]
    return EmbeddedFigure(
        stem, title, caption, inline_svg(svg, stem, f"{title}. {caption}"), width < NARROW * 72 + 72, formats
    )


def inline_svg(svg: str, prefix: str, alternative: str) -> Markup:
    """Return an SVG as a part of a page: an image with an alternative text, its ids prefixed to be unique."""
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") + 4 :], flags=re.DOTALL)
    namespace = re.sub(r"[^\w-]", "-", prefix)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{namespace}-", body)
    return Markup(f'<svg role="img" aria-label="{escape(alternative)}"{body}')  # noqa: S704  matplotlib wrote the rest


def latex_tables(page: Mapping[str, Any]) -> list[Table]:
    """Return the tables to write as LaTeX; those of several runs have the run in name and title."""
    sections = page["sections"]
    tables = [page["effects"]] if page["effects"] else []
    for section in sections:
        cell = section.name.rpartition("/")[2]
        tables += [
            table._replace(name=f"{cell}-{table.name}", title=f"{table.title} of {cell}")
            if len(sections) > 1
            else table
            for table in section.tables
        ]
    return tables


def repeat_command(sections: list[RunSection], verdict: Mapping[str, Any] | None) -> str:
    """Return the command that repeats the run or the claim, whose runs may be gone."""
    quick = " --quick" if verdict and verdict["quick"] else ""
    if sections:
        return f"{sections[0].command}{quick}"
    return f"ablate run {verdict['name'].removesuffix('-quick') if verdict else ''}{quick}"


def remove_stale_files(folder: Path, stems: set[str]) -> None:
    """Remove the files of an earlier report but for those with the given stems."""
    for file in folder.glob("*"):
        if file.suffix[1:] in (*FIGURE_FORMATS, "tex") and file.stem not in stems:
            file.unlink()


def format_fact(value: Any) -> str:
    """Return a fact about a run as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def render(name: str, **content: Any) -> str:
    """Return a filled template; values in the HTML page are escaped."""
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
