"""Writes the classes of the messages: `python tools/generate.py [DIRECTORY]`, from client-lib/python.

They are kept in the repository, so that a wheel can be built without protoc; a test holds them against the
.proto files. The compiler is grpcio-tools in the version of tests/requirements.txt: classes of an older
protobuf are good for more versions of it than those of the newest.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PYTHON = Path(__file__).resolve().parents[1]
SOURCES = (PYTHON.parents[1] / "proto" / "proto", PYTHON / "proto")
WANTED = ("imd/v1/*.proto", "imd_client/*.proto")
GENERATED = PYTHON / "src" / "imd_client" / "_generated"

# protoc imports one file's classes from another as if they lay on the path themselves.
IMPORT = re.compile(r"^from imd\.v1 import", re.MULTILINE)


def generate(directory: Path) -> None:
    """Writes all classes, flat, into this directory."""
    files = [file for root in SOURCES for pattern in WANTED for file in sorted(root.glob(pattern))]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as made:
        arguments = [
            "protoc",
            *(f"-I{root}" for root in (*SOURCES, well_known)),
            f"--python_out={made}",
            f"--pyi_out={made}",
            *map(str, files),
        ]
        if protoc.main(arguments) != 0:
            sys.exit("protoc failed")
        directory.mkdir(parents=True, exist_ok=True)
        for file in Path(made).rglob("*_pb2.py*"):
            text = IMPORT.sub("from imd_client._generated import", file.read_text())
            (directory / file.name).write_text(text)
    (directory / "__init__.py").write_text('"""Written by tools/generate.py."""\n')


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else GENERATED)
