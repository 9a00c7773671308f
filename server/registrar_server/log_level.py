"""The log level of a running server: ``.env`` may change it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from registrar_server import logs
from registrar_server.settings import ENV_FILE, Settings
from registrar_server.watched_files import Watched

log = structlog.get_logger()


def watched_log_level(used: Settings, load: Callable[[], Settings]) -> Watched:
    """Return what reads the log level of the settings again. The other settings need a restart, as the log says."""

    def read() -> None:
        found = load()
        logs.set_level(found.log_level)
        names = Settings.model_fields.keys() - {"log_level"}
        if changed := sorted(name for name in names if getattr(found, name) != getattr(used, name)):
            log.warning("settings_need_restart", names=", ".join(changed))

    return Watched("log_level", [Path(ENV_FILE)], read)
