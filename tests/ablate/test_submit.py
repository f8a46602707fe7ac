"""A job whose log breaks off goes on, and the command that follows it says so."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from aiohttp import web

from tests.ablate.helpers import ablate, here, write
from tests.ablate.nodes import free_port

JOB = "raysubmit_1"
GOES_ON = f"The job keeps running; `ray job logs --follow {JOB}` follows it again.\n"
Asked = Callable[[web.Request], web.Response]


@contextmanager
def dashboard(asked: Asked, *, breaks: bool) -> Iterator[str]:
    """Serve what a cluster's dashboard serves of a job, whose log has one line and then ends or breaks off."""

    async def log(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("small: 6 trials to run on synthetic.\n")
        if breaks and request.transport:
            request.transport.abort()
        else:
            await socket.close()
        return socket

    async def job(request: web.Request) -> web.Response:
        return asked(request)

    async def accept(request: web.Request) -> web.Response:
        return web.json_response({"job_id": JOB, "submission_id": JOB})

    async def other(request: web.Request) -> web.Response:
        return web.json_response({"ray_version": ray.__version__})

    async def serve() -> None:
        app = web.Application()
        app.add_routes([web.get(f"/api/jobs/{JOB}/logs/tail", log), web.get(f"/api/jobs/{JOB}", job)])
        app.add_routes([web.post("/api/jobs/", accept), web.get("/api/{_:.*}", other)])
        await (runner := web.AppRunner(app)).setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        serving.set_result((asyncio.get_running_loop(), over := asyncio.Event()))
        await over.wait()
        await runner.cleanup()

    port, serving = free_port(), Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()
    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(asyncio.run, serve())
        loop, over = serving.result(timeout=60)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            loop.call_soon_threadsafe(over.set)
            ended.result()


def said(status: str, code: int | None = None) -> Asked:
    """Return what the dashboard says of a job."""
    about = {"type": "SUBMISSION", "submission_id": JOB, "entrypoint": "", "status": status, "driver_exit_code": code}
    return lambda request: web.json_response(about)


@pytest.mark.filterwarnings("ignore:ssl=None:DeprecationWarning")  # of Ray
@pytest.mark.parametrize("breaks", [True, False])
@pytest.mark.parametrize(
    ("asked", "code", "told"),
    [
        (said("RUNNING"), 130, GOES_ON),
        (said("PENDING"), 130, GOES_ON),
        (said("SUCCEEDED", 0), 0, ""),
        (said("FAILED", 1), 1, ""),
        (
            lambda request: web.Response(status=500, text="no"), 2,
            "the cluster no longer answers: Request failed with status code 500: no.; "
            f"`ray job logs --follow {JOB}` follows the job again\n",
        ),
    ],
    ids=["runs", "waits", "done", "failed", "unknown"],
)  # fmt: skip
def test_a_log_that_ends_is_not_the_end_of_a_job(
    asked: Asked, code: int, told: str, breaks: bool, tmp_path: Path
) -> None:
    with dashboard(asked, breaks=breaks) as address:
        ended = here("submit", write(tmp_path), "--store", tmp_path / "s", "--address", address)
    assert (ended.returncode, ended.stdout) == (code, "small: 6 trials to run on synthetic.\n")
    assert ended.stderr == f"Submitted as {JOB}; `ray job stop {JOB}` stops it.\n{told}"
    assert not logging.root.manager.disable


def test_ray_says_nothing_of_what_goes_well(tmp_path: Path) -> None:
    """In a process of its own, because Ray keeps the standard error that there was when it was imported."""
    with dashboard(said("SUCCEEDED", 0), breaks=False) as address:
        ended = ablate("submit", write(tmp_path), "--store", tmp_path / "s", "--address", address)
    assert (ended.returncode, ended.stderr) == (0, f"Submitted as {JOB}; `ray job stop {JOB}` stops it.\n")
