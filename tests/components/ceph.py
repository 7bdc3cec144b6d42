"""A throw-away Ceph object gateway (S3): prints host and port, ends when standard input closes.

One monitor, one object daemon that keeps everything in memory, one gateway. The keys of its only
user are ACCESS_KEY and SECRET_KEY.
"""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from uuid import uuid4

from daemons import daemon, free_port, scratch, serve, wait_for

ACCESS_KEY = "parfocal-tests"
SECRET_KEY = "parfocal-tests-secret"

CONFIG = """\
[global]
fsid = {cluster}
mon_host = v1:127.0.0.1:{monitor_port}
ms_bind_msgr2 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
run_dir = {folder}
admin_socket = {folder}/$name.$pid.asok
log_file = {folder}/$name.log
mon_allow_pool_size_one = true
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
mon_max_pg_per_osd = 1000
[mon]
mon_data = {folder}/monitor
mon_data_avail_crit = 1
paxos_propose_interval = 0.05
[osd]
osd_data = {folder}/objects
osd_objectstore = memstore
memstore_device_bytes = 4294967296
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_thread_pool_size = 64
rgw_run_sync_thread = false
"""


def start(stack: ExitStack) -> str:
    """Start the three daemons and return host and port of the gateway."""
    folder = stack.enter_context(scratch())
    port, monitor_port, cluster = free_port(), free_port(), str(uuid4())
    config = folder / "ceph.conf"
    config.write_text(
        CONFIG.format(folder=folder, port=port, monitor_port=monitor_port, cluster=cluster)
    )
    _start_monitor(stack, folder, monitor_port, cluster)
    _start_objects(stack, folder)
    _start_gateway(stack, folder, port)
    return f"127.0.0.1:{port}"


def _start_monitor(stack: ExitStack, folder: Path, port: int, cluster: str) -> None:
    (folder / "monitor").mkdir()
    members = str(folder / "members")
    address = f"[v1:127.0.0.1:{port}]"
    _run(folder, "monmaptool", "--create", "--fsid", cluster, "--addv", "a", address, members)
    _run(folder, "ceph-mon", "--mkfs", "-i", "a", "--monmap", members)
    log = folder / "monitor.out"
    monitor = stack.enter_context(_daemon(folder, log, "ceph-mon", "-i", "a", "-f"))
    wait_for(lambda: "quorum" in _ask(folder, "mon", "stat"), monitor, log)


def _start_objects(stack: ExitStack, folder: Path) -> None:
    (folder / "objects").mkdir()
    identity = str(uuid4())
    _run(folder, "ceph", "--connect-timeout", "10", "osd", "new", identity)
    _run(folder, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
    log = folder / "objects.out"
    objects = stack.enter_context(_daemon(folder, log, "ceph-osd", "-i", "0", "-f"))
    wait_for(lambda: "1 up" in _ask(folder, "osd", "stat"), objects, log)


def _start_gateway(stack: ExitStack, folder: Path, port: int) -> None:
    log = folder / "gateway.out"
    gateway = stack.enter_context(_daemon(folder, log, "radosgw", "-n", "client.rgw", "-f"))
    user = ["--uid=tests", "--display-name=tests"]
    keys = [f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}"]
    _run(folder, "radosgw-admin", "-n", "client.rgw", "user", "create", *user, *keys)
    wait_for(lambda: _answers(f"http://127.0.0.1:{port}/"), gateway, log)


def _daemon(
    folder: Path, log: Path, *command: str
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return daemon(list(command), log=log, env=_environment(folder))


def _run(folder: Path, *command: str) -> None:
    subprocess.run(
        command,
        check=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=_environment(folder),
    )


def _ask(folder: Path, *question: str) -> str:
    answer = subprocess.run(
        ["ceph", "--connect-timeout", "2", *question],
        check=False,
        timeout=30,
        capture_output=True,
        text=True,
        env=_environment(folder),
    )
    return answer.stdout


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "CEPH_CONF": str(folder / "ceph.conf"),
        "CEPH_ARGS": "--no-mon-config",
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


if __name__ == "__main__":
    serve(start)
