#!/usr/bin/env python3
"""Install this checkout into bare environments, and look at what came.

`python tools/check_install.py` checks the client alone. With names of services it checks, for each,
that its extra brings all that it needs to start and to answer SERVING, and no torch:
`python tools/check_install.py labels inference embedding suggestion loop`. It needs a package index
and a minute or two for each service.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THIN = {"googleapis-common-protos", "grpcio", "numpy", "protobuf", "typing-extensions"}
HEAVY = {"onnxruntime", "sklearn", "torch"}
IMPORT_SECONDS = 0.2
SERVICES = ("embedding", "inference", "labels", "loop", "suggestion", "training")

WHAT_CAME = """
import json, re
from importlib import metadata
files = metadata.distribution("parfocal").files
print(json.dumps({
    "names": [re.sub(r"[-_.]+", "-", each.name).lower() for each in metadata.distributions()],
    "tops": sorted({file.parts[0] for file in files if file.parts[0] != ".."}),
}))
"""
# Ready is told over the standard health protocol; the port is what the log line says.
HEALTH = """
import sys, time
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(sys.argv[1]))
end = time.monotonic() + 30
while True:
    reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
    if reply.status == reply.SERVING:
        break
    if time.monotonic() > end:
        sys.exit("not SERVING after 30 s")
    time.sleep(0.1)
"""


class Unfit(Exception):
    """What was installed is not what should have been."""


def main() -> None:
    """Check the client, then each service that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("services", nargs="*", choices=[*SERVICES, []], metavar="SERVICE")
    services = parser.parse_args().services
    try:
        with tempfile.TemporaryDirectory() as home:
            print(check_client(Path(home) / "client"), flush=True)
            for service in services:
                print(check_service(service, Path(home) / service), flush=True)
    except Unfit as error:
        sys.exit(f"error: {error}")


def check_client(home: Path) -> str:
    """Install without extras, and return what is to be said of it."""
    python = installed(home, str(ROOT))
    came = names(python)
    if came != THIN:
        raise Unfit(f"the client brings {sorted(came)}, not {sorted(THIN)}")
    seconds = min(import_seconds(python) for _ in range(3))
    if seconds >= IMPORT_SECONDS:
        raise Unfit(f"import parfocal takes {seconds:.3f} s")
    loaded = set(
        json.loads(run(python, "import parfocal, sys, json; print(json.dumps([*sys.modules]))"))
    )
    if HEAVY & loaded:
        raise Unfit(f"import parfocal loads {sorted(HEAVY & loaded)}")
    return f"client: {', '.join(sorted(came))}; imported in {seconds * 1000:.0f} ms"


def check_service(service: str, home: Path) -> str:
    """Install with one extra, start its service, and return what is to be said of it."""
    python = installed(home, f"{ROOT}[{service}]")
    came = names(python)
    if service != "training" and "torch" in came:
        raise Unfit(f"[{service}] brings torch")
    answers(python, service, home)
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    return f"{service}: SERVING; {len(came)} distributions, {size / 1e6:.0f} MB"


def installed(home: Path, what: str) -> Path:
    """Return the Python of a new environment with `what`, of which only ours are top-level."""
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", what], check=True, cwd=home)
    strays = [
        top
        for top in json.loads(run(python, WHAT_CAME))["tops"]
        if not re.fullmatch(r"parfocal\w*|parfocal-.*\.dist-info", top)
    ]
    if strays:
        raise Unfit(f"the wheel holds {strays} beside our packages")
    return python


def names(python: Path) -> set[str]:
    """Return the distributions of an environment, but for ours and the installers."""
    return set(json.loads(run(python, WHAT_CAME))["names"]) - {"parfocal", "pip", "setuptools"}


def import_seconds(python: Path) -> float:
    """Return how long `import parfocal` takes, as Python's own `-X importtime` counts it."""
    done = subprocess.run(
        [python, "-X", "importtime", "-c", "import parfocal"],
        check=True,
        capture_output=True,
        text=True,
        cwd=python.parent,
    )
    (total,) = re.findall(r"\| +(\d+) \| parfocal$", done.stderr, re.MULTILINE)
    return int(total) / 1e6


def answers(python: Path, service: str, home: Path) -> None:
    """Start a service alone, wait until it answers SERVING, end it."""
    settings = {
        "PARFOCAL_PORT": "0",
        "PARFOCAL_STORE_URI": f"file://{home}/store",
        "PARFOCAL_ANONYMOUS_ROLE": "viewer",
        "PARFOCAL_LABELS_DATABASE": f"sqlite:///{home}/labels.sqlite",
        "PARFOCAL_LOOP_DATABASE": f"sqlite:///{home}/loop.sqlite",
    }
    with subprocess.Popen(
        [python, "-m", f"parfocal_{service}"],
        env={**os.environ, **settings},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=home,
    ) as process:
        assert process.stderr is not None
        said = []
        address = None
        for line in process.stderr:
            said.append(line)
            if '"listening"' in line:
                address = json.loads(line)["address"]
                break
        if address is None:
            raise Unfit(f"parfocal_{service} did not start:\n{''.join(said)}")
        try:
            run(python, HEALTH, address)
        finally:
            process.terminate()


def run(python: Path, code: str, *arguments: str) -> str:
    """Return what code prints in an environment; its folder is no part of the checkout."""
    done = subprocess.run(
        [python, "-c", code, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=python.parent,
    )
    if done.returncode:
        raise Unfit(done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()
