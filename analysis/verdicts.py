"""The verdict of a claim: from the tables of its runs, with a figure and the numbers behind it."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis import files
from analysis.ablations import ABLATIONS, Effect, Finding, figures
from analysis.ablations.differences import side_label
from analysis.blocks import trials_with_draws, with_independent_trials
from analysis.choice import is_seed_invariant
from analysis.decisions import Decision
from analysis.experiment import experimental_setup
from analysis.formatting import is_percent
from analysis.record import figure_caption
from analysis.rules import RULES, cell_decisions
from analysis.tables import Run, load

Choice = Mapping[str, Mapping[str, Any]]  # one name and its options


def write_verdict(
    claim: Mapping[str, Any],
    analyses: Sequence[Choice],
    beside: Sequence[Choice],
    rule: Choice,
    folders: Mapping[str, Path],
    folder: Path,
) -> dict[str, Any]:
    """Decide on a claim and write verdict.json, its figure and the figure's numbers into a folder.

    Args:
        claim: the claim's own entries of the verdict: `name`, `quick`, `source`, `question`, `says`, `support`.
        analyses: names of `ABLATIONS`, each with its options; the rule decides on what they find.
        beside: further analyses, shown without a decision.
        rule: a name of `RULES`, and its options.
        folders: of the runs, by cell.
        folder: of the verdict.

    Returns:
        The content of verdict.json.

    Raises:
        ValueError: the analysis uses what the runs do not have.
    """
    runs = {cell: load(path) for cell, path in folders.items()}
    if "exact" in rule:  # one number of one trial refutes it
        finding = run_analyses(
            {cell: with_independent_trials(run) for cell, run in runs.items()}, [*map(over_numbers, analyses)]
        )
    else:
        finding = run_analyses(runs, analyses)
    others = [run_analyses(runs, [analysis]) for analysis in beside]
    reports = [
        report_effects(analysis_title(analysis), finding) for analysis, finding in zip(beside, others, strict=True)
    ]
    decision, effect_decisions = apply_rule(finding, rule)
    verdict = {
        **claim,
        **{key: value for key, value in json_values(decision).items() if key not in ("difference", "noun")},
        "effects": {name: json_values(effect) for name, effect in effect_decisions.items()},
        "beside": {name: json_values(effect) for name, effect in merge_decisions(reports).items()},
        "remarks": [*invariance_remarks(runs), *(remark for part in (finding, *others) for remark in part.remarks)],
        "bed": experimental_setup(runs),
        "cells": list(runs),
        "trials": trial_counts(runs),
        "figures": [],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for drawing in figures.drawings(finding, effect_decisions, claim["name"], figure_caption(verdict)):
        drawing.write(folder / "figures")
        verdict["figures"].append({"stem": drawing.stem, "title": drawing.title, "caption": drawing.caption})
    files.write_atomically(folder / "verdict.json", json.dumps(verdict, indent=1).encode())
    return verdict


def invariance_remarks(cells: Mapping[str, Run]) -> list[str]:
    """Return a remark on each cell in which all seeds have the same results."""
    names = [cell or run.name for cell, run in cells.items() if is_seed_invariant(trials_with_draws(run).collect())]
    return [f"{name}: all seeds have the same results, which count once." for name in names]


def over_numbers(analysis: Choice) -> Choice:
    """Return an analysis of a quantity with every number as a replicate of its own; others as they are."""
    return {
        name: {**options, "over": "number"} if name == "quantity" else options for name, options in analysis.items()
    }


def run_analyses(cells: Mapping[str, Run], analyses: Sequence[Choice]) -> Finding:
    """Return the finding of some analyses of runs; of several, all effects under distinct names, and the lines."""
    findings = [ABLATIONS[name](cells, **options) for analysis in analyses for name, options in analysis.items()]
    if len(findings) == 1:
        return findings[0]
    titles = [analysis_title({name: options}) for analysis in analyses for name, options in analysis.items()]
    has_duplicates = len(set(titles)) < len(titles)
    names = [f"{i}. {finding.metric}" for i, finding in enumerate(findings, start=1)] if has_duplicates else titles
    effects = [
        effect._replace(name=f"{name}: {effect.name}", metric=effect_metric(effect, finding))
        for name, finding in zip(names, findings, strict=True)
        for effect in finding.effects
    ]
    metrics, nouns = {finding.metric for finding in findings}, {finding.noun for finding in findings}
    beside = tuple(effect for finding in findings for effect in finding.beside)
    remarks = tuple(remark for finding in findings for remark in finding.remarks)
    panels = names if len(metrics) < len(findings) else [finding.metric for finding in findings]
    combined = Finding(
        effects,
        shared_metric(metrics),
        beside=beside,
        remarks=remarks,
        noun=nouns.pop() if len(nouns) == 1 else "result",
    )
    return add_lines(combined, dict(zip(panels, findings, strict=True)))


def shared_metric(metrics: set[str]) -> str:
    """Return the metric in whose unit numbers of several metrics are: of all kinds of accuracy, points; else none."""
    return next(iter(metrics)) if len(metrics) == 1 else "accuracy" if all(map(is_percent, metrics)) else ""


def add_lines(combined: Finding, parts: Mapping[str, Finding]) -> Finding:
    """Return a combined finding with the lines of its parts, by name, if each has some and they are of one kind."""
    first = next(iter(parts.values()))
    kinds = {
        (part.axis, part.scale, part.lines_are_changes, part.lines_label, part.lines.is_empty())
        for part in parts.values()
    }
    if len(kinds) > 1 or first.lines.is_empty():
        return combined
    lines = [part.lines.with_columns(panel=name + ": " + pl.col("panel")) for name, part in parts.items()]
    panel_metrics = {
        f"{name}: {panel}": part.metric for name, part in parts.items() for panel in part.lines["panel"].unique()
    }
    panel_axes = {f"{name}: {panel}": axis for name, part in parts.items() for panel, axis in part.panel_axes.items()}
    return combined._replace(
        lines=pl.concat(lines),
        axis=first.axis,
        scale=first.scale,
        lines_are_changes=first.lines_are_changes,
        lines_label=first.lines_label,
        panel_metrics=panel_metrics,
        panel_axes=panel_axes,
    )


def effect_metric(effect: Effect, finding: Finding) -> str:
    """Return the metric in whose unit an effect is."""
    return finding.metric if effect.metric is None else effect.metric


def report_effects(title: str, finding: Finding) -> dict[str, Decision]:
    """Return the effects of a finding as reported, by the title of the analysis, their names and their metrics."""
    metric, _, description = title.partition(": ")
    subject = description if f" {finding.metric}".endswith(f" {metric}") else title  # the unit implies the metric
    effects = [*finding.effects, *finding.beside]
    named = {e.name if subject in e.name else f"{subject}: {e.name}": e for e in effects}
    return {
        f"{name} ({effect_metric(effect, finding)})": report_effect(effect, finding) for name, effect in named.items()
    }


def report_effect(effect: Effect, finding: Finding) -> Decision:
    """Return an effect as reported, without a test."""
    return RULES["report"](*effect.samples, metric=effect_metric(effect, finding), noun=effect.noun or finding.noun)


def analysis_title(analysis: Choice) -> str:
    """Return what an analysis is about: the metric if it is not the score, what it compares, and when."""
    ((name, options),) = analysis.items()
    metric = options.get("metric", "").removesuffix("_*")
    sides = [options[side] for side in ("of", "against" if "against" in options else "minus") if options.get(side)]
    subject = " - ".join(side if isinstance(side, str) else side_label(side) for side in sides)
    if isinstance(options.get("factors"), dict):
        subject = " x ".join(side_label({column: levels}) for column, levels in options["factors"].items())
    elif name == "trend":
        subject += f" per doubling of {options['along']}"
    subject = subject or ("" if name == "quantity" else name)
    subject += ", less own score" * options.get("less_score", False)
    if options.get("epochs"):
        first, last = options["epochs"]
        epochs = f"epochs {first} to {last}" if first < last else f"epoch {first}"
        subject = ", ".join(filter(None, [subject, epochs]))
    return f"{metric}: {subject}" if metric and subject else metric or subject


def merge_decisions(parts: Sequence[Mapping[str, Decision]]) -> dict[str, Decision]:
    """Return the decisions of several analyses in one mapping; a name that is already taken is numbered."""
    merged: dict[str, Decision] = {}
    for position, decisions in enumerate(parts, start=1):
        for name, decision in decisions.items():
            merged[name if name not in merged else f"{position}. {name}"] = decision
    return merged


def apply_rule(finding: Finding, rule: Choice) -> tuple[Decision, dict[str, Decision]]:
    """Return the decision of a rule on a finding, and on each of its effects.

    Raises:
        ValueError: there is no effect, or several where the rule is about one.
    """
    ((name, options),) = rule.items()
    samples = {effect.name: effect.samples for effect in finding.effects}
    beside = {effect.name: report_effect(effect, finding) for effect in finding.beside if effect.name not in samples}
    if not samples:
        raise ValueError("no trial of the runs matches the analysis")
    metrics = {effect.name: effect_metric(effect, finding) for effect in finding.effects}
    if name == "every":
        cell_options = {"rule": "greater", "metric": metrics, "noun": finding.noun, **options}
        return RULES["every"](samples, **cell_options), cell_decisions(samples, **cell_options) | beside
    if name == "exact":
        all_values = np.concatenate([effect.seed_values for effect in finding.effects])
        decisions = {e.name: RULES["exact"](e.seed_values, metric=metrics[e.name], **options) for e in finding.effects}
        return RULES["exact"](all_values, metric=finding.metric, **options), decisions | beside
    decisions = {
        effect: RULES[name](*sides, metric=metrics[effect], noun=finding.noun, **options)
        for effect, sides in samples.items()
    }
    if name != "report" and len(decisions) > 1:
        raise ValueError(f"the rule `{name}` decides on one effect, and there are {len(decisions)}; use `every`")
    first, decision = next(iter(decisions.items()))
    overall = decision if len(decisions) == 1 else decision._replace(sentence=f"{first}: {decision.sentence}")
    return overall, decisions | beside


def json_values(decision: Decision) -> dict[str, Any]:
    """Return the fields of a decision as JSON values: None for a number that is not finite."""
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in decision._asdict().items()}


def trial_counts(cells: Mapping[str, Run]) -> dict[str, int]:
    """Return how many trials were planned, and how many ended with each status."""
    statuses = [status for run in cells.values() for status in run.trials.select("status").collect()["status"]]
    planned = sum(int(run.study["planned"]) for run in cells.values())
    return {"planned": planned, **{s: statuses.count(s) for s in ("done", "pruned", "diverged", "failed")}}
