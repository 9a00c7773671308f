"""The ``registrar-server`` command, which needs the server's packages and says so where they are missing."""

import sys


def main() -> None:
    """Run the command line; exits with its status."""
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
