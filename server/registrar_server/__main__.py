"""The ``registrar-server`` command. It reports which package to install if one of the server's is missing."""

import os
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    # gRPC's core writes its own lines to standard error, between those of the log. It reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from registrar_server.cli import main as run
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "registrar", "registrar_server"):
            raise
        sys.exit(f"registrar-server needs the package {package}: pip install 'registrar-enrollment[server]'")
    sys.exit(run())


if __name__ == "__main__":
    main()
