"""Generate the committed stubs from protos/, in an environment of the generator's own.

`python tools/gen_protos.py` rewrites them; `--check` fails where they are not fresh.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
REQUIREMENTS = ROOT / "requirements-protos.txt"
# First folder under protos/ -> where its stubs are committed.
DESTINATIONS = {
    "parfocal": ROOT / "client",
    "parfocal_inference": ROOT / "services/inference",
    "parfocal_runtime": ROOT / "services/common",
}
STUBS = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generator() -> Path:
    """Return the Python of the generator's environment, made on first use."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    home = ROOT / ".tools" / f"protos-{digest}"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
        (home / "ready").touch()
    return python


def generate(python: Path, package: str, out: Path) -> None:
    """Write the stubs of one first-level package of protos/ below `out`."""
    files = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / package).rglob("*.proto"))
    include = subprocess.run(
        [python, "-c", "import grpc_tools, os; print(os.path.dirname(grpc_tools.__file__))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    subprocess.run(
        [
            python,
            "-m",
            "grpc_tools.protoc",
            f"-I{PROTOS}",
            f"-I{include}/_proto",
            f"--plugin=protoc-gen-mypy={python.parent / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={python.parent / 'protoc-gen-mypy_grpc'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--mypy_grpc_out=quiet:{out}",
            *files,
        ],
        check=True,
    )
    for folder in {(out / name).parent for name in files}:
        while folder != out:
            init = folder / "__init__.py"
            if folder.name != package and not init.exists():
                # protoc writes none, and an import would otherwise find a namespace package.
                init.write_text(f'"""Generated stubs of `{folder.relative_to(out)}`."""\n')
            folder = folder.parent


def stubs(folder: Path) -> dict[str, Path]:
    """Return the generated files below `folder`, by relative path."""
    found = (path for pattern in STUBS for path in folder.rglob(pattern))
    return {str(path.relative_to(folder)): path for path in found}


def stale(package: str, fresh: Path, committed: Path) -> list[str]:
    """Return the names of stubs that are missing, left over, or different."""
    new = stubs(fresh)
    old = {name: path for name, path in stubs(committed).items() if name.startswith(f"{package}/")}
    different = [
        name for name in new if name in old and not filecmp.cmp(new[name], old[name], shallow=False)
    ]
    return sorted(set(new) ^ set(old) | set(different))


def main() -> int:
    """Generate, or check that what is committed is what would be generated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the stubs are not fresh")
    check = parser.parse_args().check
    python = generator()
    problems: list[str] = []
    for package, destination in DESTINATIONS.items():
        if not (PROTOS / package).exists():
            continue
        if not check:
            for path in (stubs(destination / package)).values():
                path.unlink()
            generate(python, package, destination)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            generate(python, package, Path(scratch))
            problems += stale(package, Path(scratch), destination)
    for name in problems:
        print(f"stale: {name} (run: python tools/gen_protos.py)", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
