"""Time the summary of ten million rows of metrics, beside the same with pandas.

    python -m benchmarks.tables [rows]

Both give mean, spread and range over the trials of each method, by split, modality, metric and epoch: one is
`analysis.traces`, the other what one would write with pandas. Each runs in a process of its own on two cores, which
tells its time, from files to table without imports, and its peak memory. The tables are compared.
"""

import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import polars as pl
import yaml

ROWS, FILES, EPOCHS, CORES = 10_000_000, 20, 100, 2
METHODS = ("joint", "joint-uni", "ogm-ge", "agm", "cggm")
METRICS = ("loss", "accuracy", "probe_accuracy", "scale", "gradient_norm")
MODALITIES = (None, "image", "audio", "text")
SPLITS = ("train", "validation")
TIMED = {
    "ablate": """
from analysis import load, traces
start = time.perf_counter()
table = traces(load(folder))
seconds = time.perf_counter() - start
table.write_parquet(out)
""",
    "pandas": """
import pandas as pd, yaml
start = time.perf_counter()
trials = pd.read_parquet(f"{folder}/trials", columns=["trial", "method"])
metrics = pd.read_parquet(
    f"{folder}/metrics", columns=["trial", "split", "modality", "metric", "epoch", "value"]
)
rows = metrics.merge(trials, on="trial")
keys = ["method", "split", "modality", "metric", "epoch"]
table = rows.groupby(keys, dropna=False)["value"].agg(["mean", "std", "min", "max", "count"]).reset_index()
seconds = time.perf_counter() - start
table.to_parquet(out)
""",
}


def write_run(folder: Path, rows: int) -> None:
    """Write a run with a number of rows of metrics."""
    folder.mkdir()
    study = {"name": "large", "metric": "accuracy", "direction": "max", "methods": list(METHODS)}
    (folder / "study.yaml").write_text(yaml.safe_dump({"study": study, "planned": 1}))
    shape = len(METRICS) * len(MODALITIES) * len(SPLITS) * EPOCHS
    kinds = (
        pl.DataFrame({"epoch": range(1, EPOCHS + 1)}, schema={"epoch": pl.Int32})
        .join(pl.DataFrame({"split": SPLITS}), how="cross")
        .join(pl.DataFrame({"modality": MODALITIES}), how="cross")
        .join(pl.DataFrame({"metric": METRICS}), how="cross")
    )
    trials = [sha256(str(number).encode()).hexdigest()[:16] for number in range(-(-rows // shape))]
    methods = [METHODS[number % len(METHODS)] for number in range(len(trials))]
    for table in ("trials", "metrics"):
        (folder / table).mkdir()
    seeds = pl.Series(range(len(trials)), dtype=pl.Int64)
    status = pl.DataFrame({"trial": trials, "method": methods, "seed": seeds, "status": ["done"] * len(trials)})
    status.write_parquet(folder / "trials" / "00000.parquet")
    for part in range(FILES):
        long = pl.DataFrame({"trial": trials[part::FILES]}).join(kinds, how="cross")
        value = pl.int_range(pl.len(), dtype=pl.Int64).hash(seed=part) % 1_000_003 / 1_000_003
        ordered = {"step": pl.col("epoch").cast(pl.Int64) * 10, "value": value}
        names = ["trial", "epoch", "step", "split", "modality", "metric", "value"]
        long.with_columns(**ordered).select(names).write_parquet(folder / "metrics" / f"{part:05}.parquet")


def measure(code: str, folder: Path, out: Path) -> tuple[float, float]:
    """Return seconds and peak memory in GB of a process that runs the code on CORES cores."""
    program = f"import time, resource\nfolder, out = {str(folder)!r}, {str(out)!r}\n{code}\nprint(seconds)"
    threads = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS"), str(CORES))
    program += "\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=os.environ | threads,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )  # fmt: skip
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def main(rows: int) -> None:
    """Write the tables, summarise them both ways, and print time and memory."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "large"
        write_run(folder, rows)
        sys.stdout.write(f"{rows:,} rows of metrics in {FILES} files, {CORES} cores\n")
        took = {}
        for name, code in TIMED.items():
            took[name], memory = measure(code, folder, Path(parent) / f"{name}.parquet")
            sys.stdout.write(f"  {name:7s} {took[name]:6.2f} s  {memory:5.2f} GB at most\n")
        ours, theirs = (pl.read_parquet(Path(parent) / f"{name}.parquet") for name in TIMED)
        assert ours.height == theirs.height
        both = ours["mean"].sort().to_numpy() - theirs["mean"].sort().to_numpy()
        assert abs(both).max() < 1e-9
        sys.stdout.write(
            f"  {took['pandas'] / took['ablate']:.1f} times as fast; {ours.height:,} rows, the same in both\n"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
