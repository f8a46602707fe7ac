"""Stores elsewhere: what one machine has finished another need not repeat, and what is half sent is not there."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import DEVNULL, Popen
from urllib.request import urlopen

import pytest
import yaml
from fsspec.implementations.memory import MemoryFile

from ablate import store
from ablate.errors import UserError
from ablate.remote import Mirror, file_exists, is_remote
from ablate.schema import write_version
from search_spaces import CLAIMS
from tests.ablate.helpers import ablate, foreign, here, table, train, write
from tests.ablate.nodes import Cluster, eventually, free_port, head
from tests.ablate.test_store import fill, trial

Machine = Callable[[str], Mirror]
NEVER = pytest.fail  # told nothing


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """Where what `file://` names lies: it stands for an object store, because it is reached by fsspec alone."""
    return tmp_path / "bucket"


@pytest.fixture
def machine(bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Machines by name, each with a mirror of its own."""

    def named(name: str) -> Mirror:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        mirror = Mirror(f"file://{bucket}", "stores")
        assert mirror.folder.is_relative_to(tmp_path / name)
        return mirror

    return named


def packs(folder: Path) -> list[str]:
    return [pack.name for pack in store.pack_folders(folder)]


def test_what_one_machine_has_finished_another_gets_and_both_hold_the_same(machine: Machine, bucket: Path) -> None:
    one, other = machine("one"), machine("other")
    fill(one.folder, [0, 1], [2])
    write_version(one.folder)
    one.sync(NEVER)
    fill(other.folder, [4])
    other.sync(NEVER)
    one.sync(NEVER)
    assert packs(one.folder) == packs(other.folder) == packs(bucket)
    assert len(packs(bucket)) == 3
    for pack in store.pack_folders(one.folder):
        for file in pack.iterdir():
            assert file.read_bytes() == (other.folder / "trials" / pack.name / file.name).read_bytes()
    assert (other.folder / "schema").read_text() == "2\n"
    assert store.find_damage(store.pack_folders(other.folder)[0]) is None
    assert [path.name for path in (other.folder / "trials").iterdir() if path.name.startswith(".")] == []


def test_the_index_is_sent_last_and_a_pack_without_it_is_sent_again(
    machine: Machine, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine("one")
    fill(one.folder, [0, 1])
    put, sent = one.filesystem.put, list[str]()

    def breaks(here: list[str], there: list[str]) -> None:
        sent.extend(Path(path).name for path in there)
        if "index.json" in sent:
            raise ConnectionError("the network is down")
        put(here, there)

    monkeypatch.setattr(one.filesystem, "put", breaks)
    with pytest.raises(UserError, match=f"store: file://{bucket} cannot be used: the network is down"):
        one.sync(NEVER)
    assert sent[-1] == "index.json"
    assert sorted(sent[:-1]) == ["metrics.parquet", "predictions.parquet", "trials.parquet"]
    other = machine("other")
    assert other.fetch(NEVER) == []
    assert packs(other.folder) == []
    monkeypatch.undo()
    one.sync(NEVER)
    other.fetch(NEVER)
    assert packs(other.folder) == packs(one.folder)


def test_a_pack_that_is_damaged_there_is_moved_aside_there(machine: Machine, bucket: Path) -> None:
    one, other = machine("one"), machine("other")
    fill(one.folder, [0], [1])
    one.sync(NEVER)
    (bucket / "trials" / trial(0).id / "metrics.parquet").write_bytes(b"PAR1")
    said: list[str] = []
    other.sync(said.append)
    assert packs(other.folder) == packs(bucket) == [trial(1).id]
    kept = f"{trial(0).id}.damaged-1"
    assert (bucket / "trials" / kept / "metrics.parquet").read_bytes() == b"PAR1"
    (sentence,) = said
    assert sentence.startswith(f"file://{bucket}/trials/{trial(0).id} is damaged: metrics.parquet has 4 of ")
    assert sentence.endswith(f" bytes; it is renamed to {kept}, and its trials run again.")
    one.sync(NEVER)  # the first has it whole
    assert packs(bucket) == [trial(0).id, trial(1).id]


def test_a_pack_of_which_the_mirror_has_lost_a_file_is_downloaded_again(machine: Machine, bucket: Path) -> None:
    one = machine("one")
    fill(one.folder, [0, 1], [2])
    one.sync(NEVER)
    for pack, file in zip(store.pack_folders(one.folder), ("metrics.parquet", store.INDEX), strict=True):
        (pack / file).unlink()
    one.sync(NEVER)
    assert packs(one.folder) == packs(bucket)
    assert [store.find_damage(pack) for pack in store.pack_folders(one.folder)] == [None, None]


def test_who_only_looks_passes_over_what_is_damaged_there_and_says_so(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store may be another's, who has the pack whole: a plan and a replay leave it as it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file, url = write(tmp_path, vary=None, seeds=1, resources={"pack": 1}), f"file://{bucket}"
    lost, kept = train(file, bucket)
    (bucket / "trials" / lost.id / "metrics.parquet").write_bytes(b"PAR1")
    before = sorted(bucket.rglob("*"))
    planned = here("plan", file, "--store", url)
    (said,) = (line for line in planned.stdout.splitlines() if line.startswith("Note: "))
    assert said.startswith(f"Note: {url}/trials/{lost.id} is damaged: metrics.parquet has 4 of ")
    assert said.endswith(" bytes; it is ignored.")
    assert planned.stdout.startswith("small on synthetic: 2 trials, 1 in the store, 1 to run.\n")
    again = here("replay", kept.id, "--store", url)
    assert (again.returncode, again.stderr) == (0, f"{said}\n{kept.id}: retraining.\n")
    assert sorted(bucket.rglob("*")) == before


def test_a_plan_says_what_of_a_folder_is_damaged(tmp_path: Path) -> None:
    file = write(tmp_path, vary=None, seeds=1, resources={"pack": 1})
    lost, _ = train(file, tmp_path / "s")
    (tmp_path / "s/trials" / lost.id / "metrics.parquet").write_bytes(b"PAR1")
    planned = here("plan", file, "--store", tmp_path / "s").stdout
    assert f"\nNote: {tmp_path}/s/trials/{lost.id} is damaged: metrics.parquet has 4 of " in planned


def test_what_is_damaged_here_is_not_sent(machine: Machine, bucket: Path) -> None:
    one = machine("one")
    fill(one.folder, [0], [1])
    (one.folder / "trials" / trial(0).id / "trials.parquet").unlink()
    one.sync(NEVER)
    assert packs(bucket) == [trial(1).id]


def test_the_files_of_a_run_are_as_the_machine_wrote_them_that_ran_it_last(machine: Machine, bucket: Path) -> None:
    """What it has no more is gone there, what did not change is not sent again, and what others put there stays."""
    one = machine("one")
    run = one.folder / "run"
    lay(bucket, "run/trials/00007.parquet", "run/trials/00001.parquet", "running/study.yaml")
    one.pull(run)
    (run / "trials/00007.parquet").unlink()
    lay(run, "study.yaml", "trials/00000.parquet", "lock", "driver.json", ".x/draft")
    lay(bucket, "run/cell/study.yaml")
    one.push(run)
    there = sorted(path.relative_to(bucket).as_posix() for path in bucket.rglob("*") if path.is_file())
    files = ["run/study.yaml", "run/trials/00000.parquet", "run/trials/00001.parquet"]
    assert there == sorted([*files, "run/cell/study.yaml", "running/study.yaml"])
    (bucket / files[0]).write_text("not sent again")
    (run / "trials/00000.parquet").write_text("changed")
    one.push(run)
    assert (bucket / files[0]).read_text() == "not sent again"
    assert (bucket / files[1]).read_text() == "changed"
    other = machine("other")
    (other.folder / "run").mkdir(parents=True)
    (other.folder / "run/figure.png").write_text("old")
    other.pull(other.folder / "run")
    assert sorted(path.name for path in (other.folder / "run").iterdir()) == ["cell", "study.yaml", "trials"]
    assert (other.folder / "run/trials/00000.parquet").read_text() == "changed"


def test_a_command_that_reads_a_run_takes_nothing_from_a_report_of_it(machine: Machine, bucket: Path) -> None:
    """They share a copy; the report sends what it has written alone, for the run goes on meanwhile."""
    machine("one")
    lay(bucket, "run/study.yaml", "run/trials/0.parquet", "run/metrics/0.parquet", "run/figures/old.svg")
    report, status = (Mirror(f"file://{bucket}/run", "copies") for _ in range(2))
    report.pull(report.folder)
    (bucket / "run/trials/0.parquet").write_text("later")
    status.pull(status.folder, ("study.yaml", "trials/*"))
    assert (report.folder / "metrics/0.parquet").is_file()
    (bucket / "run/trials/0.parquet").write_text("latest")
    (report.folder / "figures/old.svg").unlink()
    lay(report.folder, "report.html", "figures/new.svg")
    report.push(report.folder, ("report.*", "figures/*"))
    there = sorted(path.relative_to(bucket / "run").as_posix() for path in bucket.rglob("*") if path.is_file())
    assert there == ["figures/new.svg", "metrics/0.parquet", "report.html", "study.yaml", "trials/0.parquet"]
    assert (bucket / "run/trials/0.parquet").read_text() == "latest"


def lay(folder: Path, *names: str) -> None:
    """Write files that hold their names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_a_remote_store_of_a_later_version_is_refused(machine: Machine, bucket: Path) -> None:
    bucket.mkdir()
    (bucket / "schema").write_text("3\n")
    with pytest.raises(UserError, match="has store version 3, and this release reads versions up to 2"):
        machine("one").sync(NEVER)


def test_a_marker_is_seen_while_it_is_there(machine: Machine) -> None:
    with machine("one").marker() as seen:
        assert is_remote(seen)
        assert file_exists(seen)
    assert not file_exists(seen)
    assert not file_exists("s4://nobody/knows")


def test_a_name_that_leads_out_of_the_mirror_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of an object store may be any text."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mirror = Mirror("memory://evil/runs", "stores")
    for name in ("study.yaml", "../../out.yaml", "trials/../../../out.parquet"):
        mirror.filesystem.store[f"{mirror.root}/run/{name}"] = MemoryFile(mirror.filesystem, name, b"x")
    assert len(mirror.filesystem.find(mirror.remote_path("run"))) == 3
    mirror.pull(mirror.folder / "run")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["study.yaml"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s4://bucket/runs", "is not the address of a store: it must begin with s3:// or gs://, or be a folder"),
        ("s3://", "is not the address of a store: it must be like s3://bucket/runs"),
        (
            "ftp://localhost:1/runs",
            "ftp://localhost:1/runs is not the address of a store: it must begin with s3:// or gs://, or be",
        ),
        ("file:///tmp/../../x", "is not the address of a store|cannot be used"),
    ],
)
def test_an_address_of_nothing_is_refused(url: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Mirror(url, "stores")


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UserError, match=r"store: gs://b/runs needs a library .*: pip install 'ablate\[gs\]'"):
        Mirror("gs://b/runs", "stores")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server that speaks S3, with a bucket `ablate`; yields the environment in which it is found."""
    address = f"http://127.0.0.1:{free_port()}"
    environment = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-m", "moto.server", "-p", address.rpartition(":")[2]]
    with Popen(command, stdout=DEVNULL, stderr=DEVNULL) as server:
        try:
            assert eventually(lambda: answers(address), 60)
            with pytest.MonkeyPatch.context() as patch:
                for name, value in environment.items():
                    patch.setenv(name, value)
                import boto3

                boto3.client("s3").create_bucket(Bucket="ablate")
            yield environment
        finally:
            server.terminate()


def answers(address: str, page: str = "moto-api/") -> bool:
    """Tell whether a server has a page."""
    try:
        with urlopen(f"{address}/{page}", timeout=1) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def gs() -> Iterator[dict[str, str]]:
    """A server that speaks as Google Cloud Storage, with a bucket `ablate`; yields the environment in which it is found."""
    pytest.importorskip("gcsfs", reason="needs ablate[gs]")
    pytest.importorskip("gcp_storage_emulator", reason="needs gcp-storage-emulator")
    port = str(free_port())
    options = ["start", "--host", "127.0.0.1", "--port", port, "--in-memory", "--default-bucket", "ablate", "-q"]
    with Popen([sys.executable, "-m", "gcp_storage_emulator", *options], stdout=DEVNULL, stderr=DEVNULL) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            assert eventually(lambda: answers(address, "storage/v1/b/ablate"), 60)
            yield {"STORAGE_EMULATOR_HOST": address}
        finally:
            server.terminate()


@pytest.mark.nightly
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_second_machine_repeats_nothing(scheme: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """It trains what is new, reads what is there, and its tables are those of one machine with a folder."""
    there: dict[str, str] = request.getfixturevalue(scheme)
    small, url = write(tmp_path, seeds=1, methods=["joint"], vary=None), f"{scheme}://ablate/one/runs"
    first = ablate("run", small, "--store", url, **there, XDG_CACHE_HOME=str(tmp_path / "first"))
    assert first.returncode == 0, first.stderr
    assert foreign(first.stderr) == []
    assert f"stored: {url}/small\n" in first.stdout
    shutil.rmtree(tmp_path / "first")
    write(tmp_path, seeds=2, methods=["joint"], vary=None)
    elsewhere = there | {"XDG_CACHE_HOME": str(tmp_path / "second")}
    plan = ablate("plan", small, "--store", url, "--json", **elsewhere)
    assert '"stored": 1, "missing": 1' in plan.stdout, plan.stderr
    second = ablate("run", small, "--store", url, **elsewhere)
    assert "small: 1 trial to run on synthetic, 1 of 2 already in the store." in second.stderr
    assert "has no locks; make sure that no other machine runs this study" in second.stderr
    alone = ablate("run", small, "--store", tmp_path / "here", **there)
    assert alone.returncode == 0, alone.stderr
    (mirror,) = (tmp_path / "second/ablate/stores").glob(f"{scheme}*/ablate/one/runs")
    for name in ("trials", "metrics", "predictions"):
        assert table(mirror, "small", name).equals(table(tmp_path / "here", "small", name))
    third = there | {"XDG_CACHE_HOME": str(tmp_path / "third")}
    assert ablate("status", f"{url}/small", **third).stdout == "small: 2 of 2 trials done.\n"
    report = ablate("report", f"{url}/small", **third)
    assert report.stdout.splitlines()[-1] == f"stored: {url}/small"
    assert {"report.html", "report.md", "figures"} <= {p.name for p in (tmp_path / "third").rglob("*")}


def test_a_store_that_cannot_be_used_gets_one_sentence(s3: dict[str, str], tmp_path: Path) -> None:
    """No bucket, no credentials, no server, no run."""
    study, home = write(tmp_path), {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    nowhere = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "AWS_MAX_ATTEMPTS": "1"}
    cases = [
        (("run", study, "--store", "s3://missing/runs"), {}, "store: s3://missing/runs cannot be used: "),
        (("plan", study, "--store", "s3://ablate/x"), nobody, "store: s3://ablate/x cannot be used: Unable to locate"),
        (("run", study, "--store", "s3://ablate/x"), nowhere, "store: s3://ablate/x cannot be used: "),
        (("status", "s3://ablate/nothing"), {}, "s3://ablate/nothing is not a run: it has no study.yaml."),
        (("gc", "s3://ablate/x"), {}, "gc: s3://ablate/x is remote; gc works only on local folders"),
    ]
    for words, environment, said in cases:
        ended = ablate(*words, **(s3 | home | environment))
        assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
        assert ended.stderr.startswith(said), ended.stderr
        assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "cache/ablate/stores").exists()


@pytest.mark.nightly
def test_a_claim_is_judged_in_a_remote_store_and_listed_from_elsewhere(bucket: Path, tmp_path: Path) -> None:
    name, url = "agm-attribution-exact", f"file://{bucket}/runs"
    content = yaml.safe_load((CLAIMS / f"{name}.yaml").read_text())
    file = tmp_path / f"{name}.yaml"
    tiny = {"data": {"samples": [64, 32, 32]}, "train": {"epochs": 1}}
    file.write_text(yaml.safe_dump(content | {"seeds": 2, "quick": tiny}))
    ended = ablate("run", file, "--quick", "--store", url, "--cpus", 1, XDG_CACHE_HOME=str(tmp_path / "one"))
    assert ended.returncode == 0, ended.stderr
    verdict = json.loads((bucket / f"runs/{name}-quick/verdict.json").read_text())
    assert (bucket / f"runs/{name}-quick/report.html").is_file()
    shown = ablate("claims", "--store", url, "--json", XDG_CACHE_HOME=str(tmp_path / "other"))
    (listed,) = (one for one in json.loads(shown.stdout) if one["name"] == name)
    assert listed["verdict"] == verdict["verdict"]


@pytest.mark.nightly
def test_nodes_with_mirrors_of_their_own_bring_their_packs_to_the_store(s3: dict[str, str], tmp_path: Path) -> None:
    """The nodes of the cluster have another cache than the driver, as on machines of their own; then a job goes on."""
    study, url = write(tmp_path, resources={"pack": 1}), "s3://ablate/cluster"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (s3 | {"XDG_CACHE_HOME": str(tmp_path / "node")}).items():
            patch.setenv(name, value)
        with head(tmp_path / "log") as cluster:
            check(cluster, study, url, s3, tmp_path)


def mirror_folder(cache: Path, store: str) -> Path:
    """Return the mirror of a store in a cache, among those of the server of the tests."""
    (folder,) = cache.glob(f"ablate/stores/s3@*/ablate/{store}")
    return folder


def check(cluster: Cluster, study: Path, url: str, s3: dict[str, str], tmp_path: Path) -> None:
    """Run a study there, and more of it as a job; the driver sees all tables, and so does one who asks the store."""
    environment = cluster.environment | s3 | {"XDG_CACHE_HOME": str(tmp_path / "driver")}
    ended = ablate("run", study, "--store", url, "--address", cluster.address, **environment)
    assert ended.returncode == 0, ended.stderr
    assert foreign(ended.stderr) == []
    there, here = (mirror_folder(tmp_path / name, "cluster") for name in ("node", "driver"))
    assert packs(there) == packs(here)
    assert len(packs(here)) == 6
    assert not (there / "small").exists()
    assert set(table(here, "small", "trials")["status"]) == {"done"}
    assert len(table(here, "small", "metrics")) > 0
    shown = ablate("status", f"{url}/small", **s3, XDG_CACHE_HOME=str(tmp_path / "third"))
    assert shown.stdout == "small: 6 of 6 trials done.\n"
    write(tmp_path, seeds=3, resources={"pack": 1})
    job = ablate("submit", study, "--store", url, "--address", cluster.dashboard, **environment)
    assert job.returncode == 0, job.stdout + job.stderr
    assert "small: 3 trials to run on synthetic, 6 of 9 already in the store." in job.stdout
    shown = ablate("status", f"{url}/small", **s3, XDG_CACHE_HOME=str(tmp_path / "third"))
    assert shown.stdout == "small: 9 of 9 trials done.\n"


def test_another_server_has_a_mirror_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(variable, raising=False)
    usual = Mirror("s3://bucket/runs", "stores").folder
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9000/")
    other = Mirror("s3://bucket/runs", "stores").folder
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://storage.example")
    third = Mirror("s3://bucket/runs", "stores").folder
    places = [folder.relative_to(tmp_path / "ablate/stores").parts for folder in (usual, other, third)]
    assert places == [
        ("s3", "bucket", "runs"), ("s3@localhost:9000", "bucket", "runs"), ("s3@storage.example", "bucket", "runs"),
    ]  # fmt: skip
