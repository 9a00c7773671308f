"""A worker process: reads parameters as JSON lines, measures, and writes samples as JSON lines."""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    """Serve until standard input ends."""
    run = importlib.import_module(f"bench.{sys.argv[1]}").run
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
