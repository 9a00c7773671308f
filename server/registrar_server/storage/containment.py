"""The condition that a column with a list of texts as its document has a text."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class HasText(FunctionElement[bool]):
    """Whether the list in the first argument has the text in the second."""

    name = "has_text"
    type = Boolean()
    inherit_cache = True


@compiles(HasText, "postgresql")
def _on_postgresql(element: HasText, compiler: SQLCompiler, **options: Any) -> str:
    return f"jsonb_exists{compiler.process(element.clause_expr, **options)}"


@compiles(HasText, "sqlite")
def _on_sqlite(element: HasText, compiler: SQLCompiler, **options: Any) -> str:
    document, text = (compiler.process(argument, **options) for argument in element.clauses)
    return f"{text} IN (SELECT value FROM json_each({document}))"
