"""From the tables of a claim's runs to its verdict, with its figure and its numbers beside it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis import files
from analysis.ablations import ABLATIONS, Effect, Finding, figures
from analysis.ablations.differences import said
from analysis.ablations.scores import label
from analysis.ablations.scores import shown as written
from analysis.blocks import KINDS, nested, trialwise
from analysis.choice import alike
from analysis.decisions import Decision
from analysis.formatting import is_percent, plural
from analysis.record import words
from analysis.rules import RULES, cell_decisions
from analysis.tables import Run, load

Chosen = Mapping[str, Mapping[str, Any]]  # one name and its options
FEW = 6  # data sets of one name that are told apart
MADE_OF = ("model.fusion", "model.encoder", "model.hidden", "train.optimizer", "train.epochs")


def judge(
    claim: Mapping[str, Any],
    analyses: Sequence[Chosen],
    beside: Sequence[Chosen],
    rule: Chosen,
    folders: Mapping[str, Path],
    folder: Path,
) -> dict[str, Any]:
    """Judge a claim and write verdict.json, its figure and the figure's numbers into a folder.

    Args:
        claim: what the verdict says of the claim itself: `name`, `quick`, `source`, `question`, `says`, `support`.
        analyses: names of `ABLATIONS`, each with its options; what they find is judged.
        beside: more of them, that are shown with it.
        rule: a name of `RULES`, and its options.
        folders: of the runs, by cell.
        folder: of the verdict.

    Returns:
        What verdict.json holds.

    Raises:
        ValueError: the analysis asks for what the runs do not have.
    """
    runs = {cell: load(path) for cell, path in folders.items()}
    if "exact" in rule:  # one number of one trial refutes it
        finding = examined({cell: trialwise(run) for cell, run in runs.items()}, [*map(singly, analyses)])
    else:
        finding = examined(runs, analyses)
    others = [examined(runs, [analysis]) for analysis in beside]
    extra = [reported(titled(one), other) for one, other in zip(beside, others, strict=True)]
    decision, each = decided(finding, rule)
    verdict = {
        **claim,
        **{key: value for key, value in plain(decision).items() if key not in ("difference", "noun")},
        "effects": {effect: plain(one) for effect, one in each.items()},
        "beside": {name: plain(one) for name, one in together(extra).items()},
        "remarks": [*unmoved(runs), *(remark for one in (finding, *others) for remark in one.remarks)],
        "bed": bed(runs),
        "cells": list(runs),
        "trials": counts(runs),
        "figures": [],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for drawing in figures.drawings(finding, each, claim["name"], words(verdict)):
        drawing.write(folder / "figures")
        verdict["figures"].append({"stem": drawing.stem, "title": drawing.title, "caption": drawing.caption})
    files.write_atomically(folder / "verdict.json", json.dumps(verdict, indent=1).encode())
    return verdict


def unmoved(cells: Mapping[str, Run]) -> list[str]:
    """Return, in words, in which cells seeds change nothing."""
    found = [cell or run.name for cell, run in cells.items() if alike(nested(run).collect())]
    return [f"{name}: seeds change nothing, and what is the same for all of them counts once." for name in found]


def singly(analysis: Chosen) -> Chosen:
    """Return an analysis of a quantity as one in which every number counts by itself."""
    return {name: {**given, "over": "number"} if name == "quantity" else given for name, given in analysis.items()}


def examined(cells: Mapping[str, Run], analyses: Sequence[Chosen]) -> Finding:
    """Return what analyses find in runs; of several, all effects under names that tell them apart, and the lines."""
    found = [ABLATIONS[name](cells, **options) for analysis in analyses for name, options in analysis.items()]
    if len(found) == 1:
        return found[0]
    titles = [titled({name: options}) for analysis in analyses for name, options in analysis.items()]
    alike = len(set(titles)) < len(titles)
    names = [f"{i}. {one.metric}" for i, one in enumerate(found, start=1)] if alike else titles
    effects = [
        effect._replace(name=f"{name}: {effect.name}", metric=unit(effect, one))
        for name, one in zip(names, found, strict=True)
        for effect in one.effects
    ]
    metrics, nouns = {one.metric for one in found}, {one.noun for one in found}
    beside = tuple(effect for one in found for effect in one.beside)
    remarks = tuple(remark for one in found for remark in one.remarks)
    panels = names if len(metrics) < len(found) else [one.metric for one in found]
    whole = Finding(
        effects,
        shared(metrics),
        beside=beside,
        remarks=remarks,
        noun=nouns.pop() if len(nouns) == 1 else "result",
    )
    return alongside(whole, dict(zip(panels, found, strict=True)))


def shared(metrics: set[str]) -> str:
    """Return the metric that numbers of several are in the unit of: of accuracies, of whatever kind, points."""
    return next(iter(metrics)) if len(metrics) == 1 else "accuracy" if all(map(is_percent, metrics)) else ""


def alongside(whole: Finding, parts: Mapping[str, Finding]) -> Finding:
    """Return a finding with the lines of its parts, by name, if each has some and they are of one kind."""
    first = next(iter(parts.values()))
    kinds = {(one.axis, one.scale, one.changes, one.lines_of, one.lines.is_empty()) for one in parts.values()}
    if len(kinds) > 1 or first.lines.is_empty():
        return whole
    lines = [one.lines.with_columns(panel=name + ": " + pl.col("panel")) for name, one in parts.items()]
    metrics = {f"{name}: {panel}": one.metric for name, one in parts.items() for panel in one.lines["panel"].unique()}
    axes = {f"{name}: {panel}": axis for name, one in parts.items() for panel, axis in one.axes.items()}
    whole = whole._replace(axis=first.axis, scale=first.scale, changes=first.changes, lines_of=first.lines_of)
    return whole._replace(lines=pl.concat(lines), metrics=metrics, axes=axes)


def unit(effect: Effect, finding: Finding) -> str:
    """Return the metric that an effect is in the unit of."""
    return finding.metric if effect.metric is None else effect.metric


def reported(title: str, finding: Finding) -> dict[str, Decision]:
    """Return what a finding shows, without a judgement, by what an analysis of that title is about."""
    metric, _, rest = title.partition(": ")
    about = rest if f" {finding.metric}".endswith(f" {metric}") else title  # it is said in the unit
    shown = [*finding.effects, *finding.beside]
    named = {e.name if about in e.name else f"{about}: {e.name}": e for e in shown}
    return {f"{name} ({unit(effect, finding)})": shown_beside(effect, finding) for name, effect in named.items()}


def shown_beside(effect: Effect, finding: Finding) -> Decision:
    """Return the numbers of an effect, without a judgement."""
    return RULES["report"](*effect.sides, metric=unit(effect, finding), noun=effect.noun or finding.noun)


def titled(analysis: Chosen) -> str:
    """Return in words what an analysis is about: the metric if it is not the score, what it compares, and when."""
    ((name, options),) = analysis.items()
    metric = options.get("metric", "").removesuffix("_*")
    given = [options[side] for side in ("of", "against" if "against" in options else "minus") if options.get(side)]
    words = " - ".join(side if isinstance(side, str) else said(side) for side in given)
    if isinstance(options.get("factors"), dict):
        words = " x ".join(said({column: levels}) for column, levels in options["factors"].items())
    elif name == "trend":
        words += f" per doubling of {options['along']}"
    words = words or ("" if name == "quantity" else name)
    words += ", less own score" * options.get("less_score", False)
    if options.get("epochs"):
        first, last = options["epochs"]
        words = ", ".join(filter(None, [words, f"epochs {first} to {last}" if first < last else f"epoch {first}"]))
    return f"{metric}: {words}" if metric and words else metric or words


def together(several: Sequence[Mapping[str, Decision]]) -> dict[str, Decision]:
    """Return decisions of several analyses as one; names that two of them share are numbered."""
    found: dict[str, Decision] = {}
    for place, decisions in enumerate(several, start=1):
        for name, decision in decisions.items():
            found[name if name not in found else f"{place}. {name}"] = decision
    return found


def decided(finding: Finding, rule: Chosen) -> tuple[Decision, dict[str, Decision]]:
    """Return the decision on a finding, and on each of its effects.

    Raises:
        ValueError: there is nothing to judge, or several effects where the rule is about one.
    """
    ((name, options),) = rule.items()
    cases = {effect.name: effect.sides for effect in finding.effects}
    beside = {effect.name: shown_beside(effect, finding) for effect in finding.beside if effect.name not in cases}
    if not cases:
        raise ValueError("the runs have no trial that this analysis asks for")
    units = {effect.name: unit(effect, finding) for effect in finding.effects}
    if name == "every":
        inner = {"rule": "greater", "metric": units, "noun": finding.noun, **options}
        return RULES["every"](cases, **inner), cell_decisions(cases, **inner) | beside
    if name == "exact":
        together = np.concatenate([effect.numbers for effect in finding.effects])
        each = {e.name: RULES["exact"](e.numbers, metric=units[e.name], **options) for e in finding.effects}
        return RULES["exact"](together, metric=finding.metric, **options), each | beside
    each = {
        effect: RULES[name](*case, metric=units[effect], noun=finding.noun, **options) for effect, case in cases.items()
    }
    if name != "report" and len(each) > 1:
        raise ValueError(f"the rule `{name}` is about one effect, and there are {len(each)}; `every` is about several")
    first, decision = next(iter(each.items()))
    named = decision if len(each) == 1 else decision._replace(sentence=f"{first}: {decision.sentence}")
    return named, each | beside


def plain(decision: Decision) -> dict[str, Any]:
    """Return a decision without what JSON has no word for."""
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in decision._asdict().items()}


def bed(cells: Mapping[str, Run]) -> str:
    """Return in words what the runs were made of: data, model, training and seeds; of what varied, all values."""
    parts = zip(*(made_of(run) for run in cells.values()), strict=True)
    return "; ".join([made_on(cells.values()), *(", ".join(dict.fromkeys(part)) for part in parts)])


def made_on(runs: Iterable[Run]) -> str:
    """Return in words which data runs were made on: by name, the options that all have and then those of each."""
    given: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        options = dict(run.data)
        given.setdefault(options.pop("name", "a file"), []).append(options)
    return ", ".join(name + optioned(several) for name, several in given.items())


def optioned(several: Sequence[Mapping[str, Any]]) -> str:
    """Return in words the options of data of one name: ` (samples=400; snr=9 or snr=3)`; many are counted."""
    common = {key: value for key, value in several[0].items() if all(one.get(key) == value for one in several)}
    own = list(dict.fromkeys(listed({k: v for k, v in one.items() if k not in common}) for one in several))
    each = " or ".join(one or "without" for one in own) if len(own) <= FEW else f"{len(own)} that differ"
    words = "; ".join(filter(None, [listed(common), "" if len(own) == 1 else each]))
    return f" ({words})" if words else ""


def listed(options: Mapping[str, Any]) -> str:
    """Return `modalities=fac/fou, missing=fac 0.5`."""
    flat = {
        k: [f"{key} {written(v)}" for key, v in o.items()] if isinstance(o, dict) else o for k, o in options.items()
    }
    return label(flat) if flat else ""


def made_of(run: Run) -> tuple[str, ...]:
    """Return in words what a run was made of, but for its data."""
    study = run.study["study"]
    given = {f"{part}.{key}": value for part in ("model", "train") for key, value in study[part].items()}
    varied = {key: written(one["values"]) or "varied" for key, one in run.vary.items()}
    fusion, encoder, hidden, optimizer, epochs = (varied.get(key, str(given[key])) for key in MADE_OF)
    return (
        f"{fusion} of {encoder}, {hidden} wide",
        f"{optimizer}, {epochs} epoch{'' if epochs == '1' else 's'}",
        " x ".join(plural(count, KINDS[kind]) for kind, count in run.seed_counts.items())
        or plural(run.looks[-1], "seed"),
    )


def counts(cells: Mapping[str, Run]) -> dict[str, int]:
    """Return how many trials were asked for, and how many ended how."""
    ended = [status for run in cells.values() for status in run.trials.select("status").collect()["status"]]
    planned = sum(int(run.study["planned"]) for run in cells.values())
    return {"planned": planned, **{s: ended.count(s) for s in ("done", "pruned", "diverged", "failed")}}
