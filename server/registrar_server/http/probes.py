"""The probes for load balancers and orchestrators: whether the process answers, and whether the server can serve."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from registrar_server.http import answers
from registrar_server.http.answers import HttpAnswer
from registrar_server.http.refusals import HttpReason, HttpRefusal
from registrar_server.http.routes import method_not_allowed
from registrar_server.migrate import MigrationReport, MigrationState
from registrar_server.rpc import status
from registrar_server.rpc.health import Health, database_fails

SCHEMA_INTERVAL_S = 5.0
"""How long the result of a check of the schema is used."""
SCHEMA_TIMEOUT_S = 5.0

SERVING = HttpAnswer(200, b'{"status":"SERVING"}\n')


class Readiness:
    """Knows whether the server can serve: it is not stopping, the database works, and its schema is not too old."""

    def __init__(self, health: Health, check_schema: Callable[[], MigrationReport]) -> None:
        self._health = health
        self._check_schema = check_schema
        self._loop = asyncio.get_running_loop()
        self._report: asyncio.Future[MigrationReport] | None = None
        self._asked_at = 0.0

    async def answer(self) -> HttpAnswer:
        """Return the answer to a probe."""
        problem = self._health.problem
        if problem is None:
            try:
                report = await self._current_report()
            except TimeoutError:  # The check goes on, and the next probes wait for it too.
                problem = database_fails()
            except Exception:  # The next check of the health logs it.
                self._report, problem = None, database_fails()
            else:
                if report.state in (MigrationState.EMPTY, MigrationState.BEHIND):
                    return answers.of_refusal(HttpRefusal(HttpReason.SCHEMA_BEHIND, str(report)))
                problem = self._health.problem  # The server may have begun to stop.
        return answers.of_status(status.of_refusal(problem).message) if problem else SERVING

    async def _current_report(self) -> MigrationReport:
        """Compare the schema with the migrations of this version. All probes of some seconds share one comparison.

        Migrations of a newer version are no problem, as they only add to the schema.
        """
        now = self._loop.time()
        if self._report is None or (self._report.done() and now - self._asked_at >= SCHEMA_INTERVAL_S):
            self._report, self._asked_at = self._health.beside(self._check_schema), now
        async with asyncio.timeout(SCHEMA_TIMEOUT_S):
            return await asyncio.shield(self._report)


class Probe:
    """An ASGI application that answers GET and HEAD."""

    def __init__(self, readiness: Readiness | None = None) -> None:
        self._readiness = readiness

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer that the process runs or, with ``readiness``, whether the server can serve."""
        if scope["method"] not in ("GET", "HEAD"):
            raise method_not_allowed(["GET", "HEAD"])
        answer = await self._readiness.answer() if self._readiness else SERVING
        await answer.send(send)
