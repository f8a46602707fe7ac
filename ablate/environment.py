"""What Ray is told by the environment, which it reads when it is imported; what is set already stays."""

import os

START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",  # a crew that has ended is noticed by its next check
    START_TIMEOUT: "60",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "8",  # the next trial waits ready when one ends
}
APPLIED = {name: value for name, value in SETTINGS.items() if name not in os.environ}
os.environ |= APPLIED


def set_start_timeout(*, grows: bool) -> None:
    """Let packs of several workers wait for nodes of a cluster that grows, as those of one do: for as long as it takes.

    Elsewhere they have been given room, and that they do not start has another reason.
    """
    if START_TIMEOUT in APPLIED:
        os.environ[START_TIMEOUT] = str(7 * 24 * 3600) if grows else APPLIED[START_TIMEOUT]
