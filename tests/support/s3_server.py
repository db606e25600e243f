"""A real S3-compatible server for tests: OpenStack Swift with its S3 API, on loopback, without root.

It is installed once, into a separate environment in the project's ``.cache``.
"""

from __future__ import annotations

import ctypes
import fcntl
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SWIFT = "swift==2.38.3"
ACCESS_KEY, SECRET_KEY, REGION = "test:tester", "testing-secret", "us-east-1"
BACK_ENDS = ("account", "container", "object")
PIPELINE = "catch_errors healthcheck listing_formats bulk s3api tempauth copy slo dlo symlink proxy-server"

DEFAULTS = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {etc}
devices = {data}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = WARNING
[pipeline:main]
pipeline = {pipeline}
[app:{name}]
use = egg:swift#{kind}
"""
SETTINGS = {
    "proxy": "account_autocreate = true\nnode_timeout = 60\nconn_timeout = 5\n",
    "container": "allow_versions = true\n",
}
FILTERS = {
    "s3api": f"location = {REGION}\ns3_acl = false\nmax_upload_part_num = 10000\n",
    "tempauth": f"user_{ACCESS_KEY.replace(':', '_')} = {SECRET_KEY} .admin\n",
    "slo": "max_manifest_segments = 10000\nmax_manifest_size = 8388608\n",
}
RINGS = """
import os, sys
from swift.common.ring import RingBuilder
for argument in sys.argv[2:]:
    name, port = argument.split(":")
    builder = RingBuilder(4, 1, 0)
    place = {"region": 1, "zone": 1, "weight": 1.0, "device": "d1", "meta": ""}
    for role in ("", "replication_"):
        place |= {role + "ip": "127.0.0.1", role + "port": int(port)}
    builder.add_dev(place)
    builder.rebalance(seed="1")
    builder.get_ring().save(os.path.join(sys.argv[1], name + ".ring.gz"))
"""


class CannotInstall(Exception):
    """The server is missing and cannot be installed."""


def install() -> Path:
    """The folder of programs of an environment with Swift, created by the first call."""
    folder = ROOT / ".cache" / "s3-server"
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{SWIFT}-python{sys.version_info.major}.{sys.version_info.minor}"
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "whole").exists():
            shutil.rmtree(place, ignore_errors=True)
            python = str(place / "bin" / "python")
            uv = Path(sys.executable).with_name("uv")
            _run(sys.executable, "-m", "venv", *(["--without-pip"] if uv.exists() else []), str(place))
            if uv.exists():
                _run(str(uv), "pip", "install", "--quiet", "--python", python, SWIFT)
            else:
                _run(python, "-m", "pip", "install", "--quiet", SWIFT)
            (place / "whole").touch()
    return place / "bin"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CannotInstall(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")


class S3Server:
    """One node of Swift with its data in ``folder``; the system ends it if this process dies.

    Attributes:
        bucket: the one that tests share; empty until it is created.
    """

    def __init__(self, folder: Path) -> None:
        self.bucket = ""
        self._programs, self._folder = install(), folder
        self._ports = dict(zip(("proxy", *BACK_ENDS), _free_ports(4), strict=True))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._configure()

    @property
    def port(self) -> int:
        return self._ports["proxy"]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """The folder of the objects, files that end in ``.data``."""
        return self._folder / "srv" / "d1" / "objects"

    def environment(self) -> dict[str, str]:
        """Environment variables of a client; no file of the user is read."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": str(self._folder / "no-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self._folder / "no-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start the four servers and wait until they answer."""
        for kind in (*BACK_ENDS, "proxy"):
            with (self._folder / f"{kind}.log").open("ab") as log:
                program, config = self._programs / f"swift-{kind}-server", self._etc / f"{kind}-server.conf"
                command = [str(program), str(config)]
                self._processes.append(
                    subprocess.Popen(
                        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent
                    )
                )
        deadline = time.monotonic() + 300
        while not self._answers():
            if time.monotonic() > deadline or any(one.poll() is not None for one in self._processes):
                self.stop()
                logs = "\n".join(log.read_text()[-2000:] for log in self._folder.glob("*.log"))
                raise RuntimeError(f"the S3 server did not come up:\n{logs}")
            time.sleep(0.1)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to the servers (``SIGKILL`` simulates a crash) and wait for their end."""
        for one in self._processes:
            one.send_signal(number)
        for one in self._processes:
            try:
                one.wait(20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        self._processes.clear()

    @property
    def _etc(self) -> Path:
        return self._folder / "etc"

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.endpoint}/healthcheck", timeout=5) as answer:
            return answer.read() == b"OK"
        return False

    def _configure(self) -> None:
        for path in (self._etc, self._folder / "srv" / "d1"):
            path.mkdir(parents=True)
        (self._etc / "swift.conf").write_text(
            f"[swift-hash]\nswift_hash_path_prefix = {secrets.token_hex(8)}\n"
            f"swift_hash_path_suffix = {secrets.token_hex(8)}\n"
            "[storage-policy:0]\nname = default\ndefault = yes\n"
        )
        for kind, port in self._ports.items():
            name = "proxy-server" if kind == "proxy" else f"{kind}-server"
            text = DEFAULTS.format(
                port=port,
                user=getpass.getuser(),
                etc=self._etc,
                data=self._folder / "srv",
                pipeline=PIPELINE if kind == "proxy" else name,
                name=name,
                kind=kind,
            )
            text += SETTINGS.get(kind, "")
            if kind == "proxy":
                names = PIPELINE.split()[:-1]
                text += "".join(f"[filter:{n}]\nuse = egg:swift#{n}\n{FILTERS.get(n, '')}" for n in names)
            (self._etc / f"{kind}-server.conf").write_text(text)
        rings = [f"{kind}:{self._ports[kind]}" for kind in BACK_ENDS]
        subprocess.run([self._programs / "python", "-c", RINGS, self._etc, *rings], check=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _folder_with_attributes(first: Path) -> Path:
    """``first``, or a folder of the project if ``first`` does not support extended attributes."""
    try:
        os.setxattr(first, "user.adasde", b"x" * 1000)
        return first
    except OSError:
        return Path(tempfile.mkdtemp(dir=ROOT / ".cache" / "s3-server", prefix="data-"))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The running server; skips the test if it cannot be installed."""
    try:
        install()
    except (CannotInstall, OSError) as error:
        pytest.skip(f"no S3 server to test with: {error}")
    folder = _folder_with_attributes(tmp_path_factory.mktemp("s3"))
    server = S3Server(folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bucket_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty prefix in the server's bucket, ``s3://...``; the variables of AWS are set to the server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    if not s3_server.bucket:
        import boto3

        boto3.session.Session().client("s3").create_bucket(Bucket="adasde-tests")
        s3_server.bucket = "adasde-tests"
    return f"s3://{s3_server.bucket}/{secrets.token_hex(6)}"
