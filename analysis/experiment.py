"""The experiment behind a verdict in words: data, model, training, fixed settings and seeds of its runs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.ablations.scores import format_value, label
from analysis.blocks import SEED_KINDS
from analysis.formatting import plural
from analysis.tables import Run

MAX_LISTED = 6  # data sets of one name whose options are listed
SETUP_SETTINGS = ("model.fusion", "model.encoder", "model.hidden", "train.optimizer", "train.epochs")


def experimental_setup(cells: Mapping[str, Run]) -> str:
    """Return in words the data, model, training, fixed settings and seeds of runs, with all values that vary."""
    parts = (dict.fromkeys(part) for part in zip(*(setup_parts(run) for run in cells.values()), strict=True))
    model, training, seeds = (", ".join(part) for part in parts)
    settings = dict.fromkeys(fixed_settings_text(run) for run in cells.values())
    fixed = " or ".join(text or "default settings" for text in settings) if any(settings) else ""
    return "; ".join(filter(None, [data_text(cells.values()), model, training, fixed, seeds]))


def data_text(runs: Iterable[Run]) -> str:
    """Return the data sets of runs by name, each with the options that all runs share and then those of each."""
    options_by_name: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        options = dict(run.data)
        options_by_name.setdefault(options.pop("name", "a file"), []).append(options)
    return ", ".join(name + data_options_text(options) for name, options in options_by_name.items())


def data_options_text(variants: Sequence[Mapping[str, Any]]) -> str:
    """Return the options of the variants of one data set, ` (samples=400; snr=9 or snr=3)`; many are counted."""
    common = {
        key: value for key, value in variants[0].items() if all(variant.get(key) == value for variant in variants)
    }
    distinct = list(
        dict.fromkeys(options_text({k: v for k, v in variant.items() if k not in common}) for variant in variants)
    )
    many = f"{len(distinct)} variants"
    alternatives = " or ".join(text or "default" for text in distinct) if len(distinct) <= MAX_LISTED else many
    text = "; ".join(filter(None, [options_text(common), "" if len(distinct) == 1 else alternatives]))
    return f" ({text})" if text else ""


def options_text(options: Mapping[str, Any]) -> str:
    """Return `modalities=fac/fou, missing=fac 0.5`."""
    flat = {
        k: [f"{key} {format_value(v)}" for key, v in o.items()] if isinstance(o, dict) else o
        for k, o in options.items()
    }
    return label(flat) if flat else ""


def setup_parts(run: Run) -> tuple[str, ...]:
    """Return the model, the training and the seeds of a run in words."""
    study = run.study["study"]
    fixed = {f"{part}.{key}": value for part in ("model", "train") for key, value in study[part].items()}
    varied = {key: format_value(axis["values"]) or "varied" for key, axis in run.vary.items()}
    fusion, encoder, hidden, optimizer, epochs = (varied.get(key, str(fixed[key])) for key in SETUP_SETTINGS)
    seeds = " x ".join(plural(count, SEED_KINDS[kind]) for kind, count in run.seed_counts.items())
    return (
        f"{fusion} fusion of {encoder} encoders, width {hidden}",
        f"{optimizer}, {epochs} epoch{'' if epochs == '1' else 's'}",
        seeds or plural(run.looks[-1], "seed"),
    )


def fixed_settings_text(run: Run) -> str:
    """Return `mses.patience=2, mslr.window=2`, the settings of methods that the study fixes at other values."""
    settings = run.study["study"].get("set") or {}
    return ", ".join(f"{key}={format_value(value)}" for key, value in settings.items())
