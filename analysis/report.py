"""One page that a reviewer can check: the finding, its tables and figures, what failed and what was run."""

from base64 import b64encode
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml
from jinja2 import Environment, FileSystemLoader

from analysis import files
from analysis.choice import chosen
from analysis.plots import plot_curve, save
from analysis.sensitivity import axes, curve, probe_curve
from analysis.statistics import LEVEL
from analysis.summary import encoders, summary
from analysis.tables import Run, load
from analysis.text import is_percent, pvalue, score, setting, span

BASELINES = ("joint", "joint-uni", "unimodal")
SHOWN_FAILURES = 20


class Drawing(NamedTuple):
    """A figure on the page."""

    axis: str
    caption: str
    source: str  # data URI


def write(folder: str | Path) -> Path:
    """Write figures/ and report.html of the run in a folder, finished or not; return the page's path.

    Raises:
        FileNotFoundError: the folder is no run.
    """
    run = load(folder)
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.globals |= {"score": score, "pvalue": pvalue, "setting": setting}
    page = Path(folder) / "report.html"
    files.write(page, templates.get_template("report.html").render(_content(run)).encode())
    return page


def headline(summary: pl.DataFrame) -> str:
    """Return the finding in one sentence: the method that is best on validation, on test, against joint training."""
    finished = summary.drop_nulls("test").filter(pl.col("method") != "unimodal")
    if finished.is_empty():
        failed, diverged = (int(summary[column].sum()) for column in ("failed", "diverged"))
        if summary["test"].drop_nulls().len():
            return "Each modality was trained alone; there is no joint prediction to compare."
        bad = f"No trial has a score: {failed} failed, {diverged} diverged."
        return bad if failed + diverged else "No trial has finished yet."
    best_is_high = finished["direction"][0] == "max"
    ranked = finished.sort("validation", descending=best_is_high, maintain_order=True).to_dicts()
    methods = [row for row in ranked if row["method"] not in BASELINES]
    row = (methods or [row for row in ranked if row["method"] != "joint"] or ranked)[0]
    start = f"{_named(row)} reaches {_with_unit(row)} on test"
    if len(ranked) == 1:
        return f"{start}; there is nothing to compare it with."
    if row["difference"] is None:
        return f"{start}; joint training has no finished trial with the same seed to compare it with."
    rival = f"; the baseline joint-uni reaches {_with_unit(ranked[0])}" if ranked[0]["method"] == "joint-uni" else ""
    return f"{start}, {_comparison(row)}: {_verdict(row)}{rival if row != ranked[0] else ''}."


def _named(row: dict[str, Any]) -> str:
    return f"{row['method']} ({row['settings']})" if row["settings"] else str(row["method"])


def _with_unit(row: dict[str, Any]) -> str:
    return score(row["metric"], row["test"]) + (" %" if is_percent(row["metric"]) else f" {row['metric']}")


def _comparison(row: dict[str, Any]) -> str:
    unit = " points" if is_percent(row["metric"]) else ""
    text = f"{score(row['metric'], row['difference'], sign='+')}{unit} against joint"
    if row["p"] is None:
        return text
    p = pvalue(row["p"])
    equal = "" if p.startswith("<") else "="
    return f"{text} {span(row['metric'], row['difference_low'], row['difference_high'])}, p{equal}{p}"


def _verdict(row: dict[str, Any]) -> str:
    """Return what the corrected p-value allows to say."""
    if row["p"] is None:
        return "one seed, which tells nothing about chance"
    if row["p"] < LEVEL:
        return f"{'better' if (row['difference'] > 0) == (row['direction'] == 'max') else 'worse'} than joint training"
    return f"not separated from joint training by {row['pairs']} seeds"


def _content(run: Run) -> dict[str, Any]:
    table = summary(run)
    status = run.trials.select("status", "trial", "method", "seed", "error").collect()
    failures = status.filter(pl.col("status") != "done").sort("method", "seed", "trial")
    budgets = table.filter(~pl.col("method").is_in(["unimodal"]))["configurations"]
    return {
        "name": run.name,
        "metric": run.metric,
        "percent": is_percent(run.metric),
        "headline": headline(table),
        "finished": len(status),
        "planned": run.study["planned"],
        "summary": table.to_dicts(),
        "unequal_budgets": budgets.n_unique() > 1,
        "encoders": encoders(run).to_dicts(),
        "drawings": _draw(run),
        "failures": failures.head(SHOWN_FAILURES).to_dicts(),
        "failed": len(failures),
        "looks": len(chosen(run).filter(pl.col("seeds") > 0)),
        "study": yaml.safe_dump(run.study["study"], sort_keys=False, allow_unicode=True),
        "facts": {**(run.study.get("versions") or {}), **(run.study.get("machine") or {})},
        "command": run.study.get("command", f"ablate run {run.name}"),
    }


def _draw(run: Run) -> list[Drawing]:
    """Write a figure for each axis along which there are results at two values or more."""
    drawings = []
    for axis in axes(run):
        response = curve(run, axis)
        if response.drop_nulls(["value", "mean"])["value"].n_unique() < 2:
            continue
        stem = Path(run.folder) / "figures" / axis
        title, scale = f"{run.name}: {axis}", run.vary[axis]["scale"]
        probes = probe_curve(run, axis)
        figure = plot_curve(response, probes, axis=axis, metric=run.metric, title=title, scale=scale)
        save(figure, stem, pl.concat([response, probes], how="diagonal"))
        image = b64encode(stem.with_name(f"{axis}.svg").read_bytes()).decode()
        drawings.append(Drawing(axis, _caption(run, axis, response), f"data:image/svg+xml;base64,{image}"))
    return drawings


def _caption(run: Run, axis: str, response: pl.DataFrame) -> str:
    """Return what the figure shows in words: the best value of each method, and its worst."""
    sentences = []
    points = response.drop_nulls(["value", "mean"]).sort("mean", descending=run.highest_is_best)
    for line in points.partition_by("method", maintain_order=True):
        best, worst = line.row(0, named=True), line.row(-1, named=True)
        held = f" with {best['settings']}" if best["settings"] else ""
        sentences.append(
            f"{best['method']}{held}: best on validation at {axis}={setting(best['value'])} "
            f"({score(run.metric, best['mean'], best['low'], best['high'])}), worst at "
            f"{setting(worst['value'])} ({score(run.metric, worst['mean'], worst['low'], worst['high'])})."
        )
    return " ".join(sentences)
