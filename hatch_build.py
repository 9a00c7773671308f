"""Generates the gRPC stubs beside the protos, and one file with their descriptors and comments.

hatchling calls `StubsHook` before it builds a wheel, an sdist or an editable install. `make protos` runs this file as a
script. Both call `generate`, so both produce the same stubs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# The descriptors of the protos with the comments, which the stubs lack: the server describes its HTTP API with them.
DESCRIPTORS = "registrar/v1/descriptors.binpb"
# Answers over HTTP contain these messages, too.
ANSWERED = ("google/rpc/error_details.proto", "google/rpc/status.proto")
STUB_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
GENERATORS = ("grpcio-tools", "mypy-protobuf")


class StubsHook(BuildHookInterface[Any]):
    """Generates the stubs before a build, and adds the migrations to a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate the stubs; `version` is `editable` for a development install, else `standard`."""
        root = Path(self.root)
        generate(root)
        # An editable install reads the migrations from the checkout, since a copy would become stale.
        if self.target_name == "wheel" and version == "standard" and (root / "migrations").is_dir():
            build_data["force_include"]["migrations"] = "registrar_server/migrations"


def generate(root: Path) -> bool:
    """Update the stubs and descriptors under `root/protos`, and return whether any were out of date."""
    protos = root / "protos"
    sources = sorted(protos.rglob("*.proto"))
    stubs = stubs_of(sources)
    generated = {*stubs, protos / DESCRIPTORS}
    markers = package_markers(protos, sources)
    _remove_leftovers(protos, stubs)
    if _is_fresh(generated, [*sources, root / "hatch_build.py"]) and _match(markers):
        return False
    # Replace each file in one step, since another build or an import may run at the same time. Write the markers last,
    # since they mark the stubs as complete.
    with tempfile.TemporaryDirectory(dir=root, prefix=".stubs-") as scratch:
        names = [str(source.relative_to(protos)) for source in sources]
        _generate_stubs(protos, names, Path(scratch))
        _describe(protos, names, Path(scratch) / DESCRIPTORS)
        for marker, text in markers.items():
            (Path(scratch) / marker.relative_to(protos)).write_text(text)
        for path in [*sorted(generated), *markers]:
            (Path(scratch) / path.relative_to(protos)).replace(path)
    return True


def stubs_of(sources: list[Path]) -> set[Path]:
    """Return the paths of the stubs of these protos."""
    return {source.with_name(source.stem + suffix) for source in sources for suffix in STUB_SUFFIXES}


def package_markers(protos: Path, sources: list[Path]) -> dict[Path, str]:
    """Return the files, with their text, that make typed packages of the folders of the protos.

    Without an `__init__.py`, every folder named `registrar` on the import path would become a part of the package. Its
    text names the versions of the generators, so that a new version makes the stubs stale.
    """
    generators = " and ".join(f"{name} {version(name)}" for name in GENERATORS)
    folders = {parent for source in sources for parent in source.parents if protos in parent.parents}
    typed = {folder / "py.typed": "" for folder in sorted(folders) if folder.parent == protos}
    text = f'"""Generated from the .proto files by {generators}."""\n'
    return typed | {folder / "__init__.py": text for folder in sorted(folders)}


def _remove_leftovers(protos: Path, wanted: set[Path]) -> None:
    """Remove the stubs of renamed and deleted protos, since they could still be imported."""
    for suffix in STUB_SUFFIXES:
        for path in set(protos.rglob(f"*{suffix}")) - wanted:
            path.unlink(missing_ok=True)


def _is_fresh(generated: set[Path], sources: list[Path]) -> bool:
    if not all(file.exists() for file in generated):
        return False
    made = min((file.stat().st_mtime_ns for file in generated), default=0)
    return all(source.stat().st_mtime_ns <= made for source in sources)


def _match(markers: dict[Path, str]) -> bool:
    return all(marker.exists() and marker.read_text() == text for marker, text in markers.items())


def _generate_stubs(protos: Path, names: list[str], output: Path) -> None:
    options = [
        f"--plugin=protoc-gen-mypy={_script('mypy-protobuf', 'protoc-gen-mypy')}",
        f"--plugin=protoc-gen-mypy_grpc={_script('mypy-protobuf', 'protoc-gen-mypy_grpc')}",
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out=quiet:{output}",
        f"--mypy_grpc_out=quiet:{output}",
    ]
    _run_protoc(protos, options, names)


def _describe(protos: Path, names: list[str], output: Path) -> None:
    options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={output}"]
    _run_protoc(protos, options, [*names, *ANSWERED])


def _run_protoc(protos: Path, options: list[str], names: list[str]) -> None:
    paths = [f"--proto_path={protos}", f"--proto_path={_installed_protos()}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", *paths, *options, *names]
    if subprocess.run(command, cwd=protos).returncode != 0:
        raise SystemExit("The stubs were not generated: protoc reports the errors above.")


def _installed_protos() -> Path:
    """Return the folder with the .proto files of google/api, google/rpc and google/type."""
    return Path(str(distribution("googleapis-common-protos").locate_file("")))


def _script(package: str, name: str) -> Path:
    """Return the path of a script that a package installed for this interpreter.

    The scripts of an isolated build have no predictable path, and a script on PATH may belong to another version.
    """
    for file in distribution(package).files or ():
        if Path(file).stem == name:
            return Path(str(file.locate())).resolve()
    raise FileNotFoundError(f"{package} is installed without the script {name}")


if __name__ == "__main__":
    print("Stubs generated." if generate(Path(__file__).parent.resolve()) else "Stubs are up to date.")
