"""Downloads from servers that fail in every way: the correct bytes in the end, none twice, or a reason."""

from __future__ import annotations

import hashlib
import json
import random
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from faulty_server import Fault, Site, serving

from adasde.errors import StoreError
from adasde.storage import download as module
from adasde.storage import partial_download as part_module
from adasde.storage.download import PATIENCE, download

CONTENT = random.Random(0).randbytes(100_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Requested pauses, which take no time."""
    made: list[float] = []
    monkeypatch.setattr(module.time, "sleep", made.append)
    return made


@pytest.fixture(autouse=True)
def _chunks(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    monkeypatch.setattr(module, "CHUNK", 4096)


class Counted:
    """Progress: ``came`` counts all received bytes, ``now`` those that were kept."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.came = self.now = 0
        self.stop_at = stop_at

    def __call__(self, units: int = 1, /, note: str = "") -> None:
        self.now += units
        self.came += max(units, 0)
        if self.stop_at is not None and self.now >= self.stop_at:
            raise KeyboardInterrupt


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("seed", range(20))
def test_interruptions_at_random_offsets(seed: int, tmp_path: Path) -> None:
    """200 by the server and 100 by the user, over 20 downloads."""
    choose = random.Random(seed)
    counted = Counted()
    with serving(Site(CONTENT)) as site:
        for _ in range(5):
            site.faults += [Fault(cut=choose.randrange(1, 8000)) for _ in range(2)]
            with pytest.raises(KeyboardInterrupt):
                counted.stop_at = counted.now + choose.randrange(1, 8000)
                download(f"{site.address}/x", tmp_path, sha256=SHA256, progress=counted)
            counted.now = 0
            assert left(tmp_path) == [".x.part", ".x.part.json"]
        counted.stop_at = None
        assert (
            download(f"{site.address}/x", tmp_path, sha256=SHA256, progress=counted).read_bytes() == CONTENT
        )
    assert counted.now == len(CONTENT)
    starts = [int(asked[6:-1]) for asked in site.asked if asked]
    assert starts == sorted(starts) and len(starts) >= 10  # never back behind what had come
    assert left(tmp_path) == ["x"]


def test_cuts_by_the_server_cost_no_byte(tmp_path: Path) -> None:
    with serving(Site(CONTENT, faults=[Fault(cut=9_000) for _ in range(10)])) as site:
        download(f"{site.address}/x", tmp_path)
    assert site.sent == len(CONTENT)
    assert site.asked == ["", *(f"bytes={9000 * n}-" for n in range(1, 11))]


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_changed_meanwhile_begins_anew(known: bool, tmp_path: Path) -> None:
    new = CONTENT[::-1]
    with serving(Site(CONTENT, faults=[Fault(cut=5000)])) as site:
        site.before = lambda: setattr(site, "content", new if len(site.asked) else CONTENT)
        sha256 = hashlib.sha256(new).hexdigest() if known else None
        assert download(f"{site.address}/x", tmp_path, sha256=sha256).read_bytes() == new
    assert site.asked == ["", "bytes=5000-"]


@pytest.mark.parametrize("validators", [True, False])
def test_a_server_without_ranges(validators: bool, tmp_path: Path) -> None:
    counted = Counted()
    with serving(Site(CONTENT, [Fault(cut=5000)] * 3, ranges=False, validators=validators)) as site:
        path = download(f"{site.address}/x", tmp_path, progress=counted)
    assert path.read_bytes() == CONTENT and counted.now == len(CONTENT)


def test_without_a_name_of_the_version_nothing_is_carried_on(tmp_path: Path) -> None:
    with serving(Site(CONTENT, [Fault(cut=5000)], validators=False)) as site:
        download(f"{site.address}/x", tmp_path)
        assert site.asked == ["", ""]
        site.faults, site.asked = [Fault(cut=5000)], []
        download(f"{site.address}/x", tmp_path, sha256=SHA256)  # its hash tells
        assert site.asked == ["", "bytes=5000-"]


def test_another_part_than_was_asked_for(tmp_path: Path) -> None:
    with serving(Site(CONTENT, [Fault(cut=5000), Fault(shift=100)])) as site:
        assert download(f"{site.address}/x", tmp_path).read_bytes() == CONTENT
    assert site.asked == ["", "bytes=5000-", ""]


def test_a_length_that_is_too_large(tmp_path: Path) -> None:
    with (
        serving(Site(CONTENT, [Fault(length=10)] * 20, ranges=False)) as site,
        pytest.raises(StoreError, match=r"100000 of 100010 bytes came.*run the same command again") as caught,
    ):
        download(f"{site.address}/x", tmp_path)
    assert caught.value.kind == "unreachable" and len(site.asked) == PATIENCE.attempts


def test_a_length_that_is_too_small_gives_another_content(tmp_path: Path) -> None:
    with (
        serving(Site(CONTENT, [Fault(length=-10)])) as site,
        pytest.raises(StoreError, match=r"x is damaged or was altered.*Nothing was taken") as caught,
    ):
        download(f"{site.address}/x", tmp_path, sha256=SHA256)
    assert caught.value.kind == "checksum" and left(tmp_path) == []


def test_a_wrong_body(tmp_path: Path) -> None:
    with serving(Site(CONTENT, [Fault(body=b"<html>sign in</html>")])) as site:
        with pytest.raises(StoreError, match="is damaged or was altered"):
            download(f"{site.address}/x", tmp_path, sha256=SHA256)
        assert left(tmp_path) == []
        download(f"{site.address}/x", tmp_path, sha256=SHA256)


def test_a_part_that_was_damaged_on_disk_is_fetched_again(tmp_path: Path) -> None:
    with serving(Site(CONTENT)) as site:
        with pytest.raises(KeyboardInterrupt):
            download(f"{site.address}/x", tmp_path, sha256=SHA256, progress=Counted(stop_at=5000))
        with (tmp_path / ".x.part").open("r+b") as stream:
            stream.write(b"damage")
        assert download(f"{site.address}/x", tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_a_part_that_was_whole_needs_no_request(tmp_path: Path) -> None:
    with serving(Site(CONTENT)) as site:
        with pytest.raises(KeyboardInterrupt):
            download(f"{site.address}/x", tmp_path, progress=Counted(stop_at=len(CONTENT)))
        assert download(f"{site.address}/x", tmp_path).read_bytes() == CONTENT
    assert len(site.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_with_the_part(status: int, tmp_path: Path) -> None:
    moved = Fault(status=status, headers={"Location": "/elsewhere"})
    with serving(Site(CONTENT, [moved, Fault(cut=5000), moved])) as site:
        assert download(f"{site.address}/x", tmp_path).read_bytes() == CONTENT
    assert site.paths == ["/x", "/elsewhere", "/x", "/elsewhere"]
    assert site.asked[2:] == ["bytes=5000-"] * 2
    assert left(tmp_path) == ["x"]


def test_redirects_without_an_end(tmp_path: Path) -> None:
    with (
        serving(Site(CONTENT, [Fault(status=302, headers={"Location": "/x"})] * 100)) as site,
        pytest.raises(StoreError, match=r"the server answers 302 .*infinite loop"),
    ):
        download(f"{site.address}/x", tmp_path)


@pytest.mark.parametrize("status", [429, 503])
def test_busy_servers_are_waited_for(status: int, tmp_path: Path, pauses: list[float]) -> None:
    busy = [
        Fault(status=status, headers={"Retry-After": "7"}),
        Fault(status=status, headers={"Retry-After": "100000"}),
        Fault(status=status, headers={"Retry-After": formatdate(time.time() + 30, usegmt=True)}),
        Fault(status=status, headers={"Retry-After": "soon"}),
    ]
    with serving(Site(CONTENT, busy)) as site:
        assert download(f"{site.address}/x", tmp_path).read_bytes() == CONTENT
    assert pauses[:2] == [7, module.LONGEST_WAIT] and 25 < pauses[2] <= 30 and pauses[3] == 4
    with (
        serving(Site(CONTENT, [Fault(status=status)] * PATIENCE.attempts)) as site,
        pytest.raises(StoreError, match=f"the server answers {status}") as caught,
    ):
        download(f"{site.address}/x", tmp_path)
    assert caught.value.kind == "server"


def test_mirrors_are_tried_in_turn(tmp_path: Path) -> None:
    with serving(Site(CONTENT, [Fault(status=404), Fault(body=b"another"), Fault(cut=5000)])) as site:
        mirrors = [f"{site.address}/{name}" for name in ("second", "third")]
        path = download(f"{site.address}/x", tmp_path, sha256=SHA256, mirrors=mirrors)
        assert path == tmp_path / "x" and path.read_bytes() == CONTENT
        assert site.paths == ["/x", "/second", "/third", "/third"]
        site.faults = [Fault(status=404), Fault(status=403)]
        with pytest.raises(StoreError, match=r"/y: the server answers 404.*/z: the server answers 403"):
            download(f"{site.address}/y", tmp_path, mirrors=[f"{site.address}/z"])


class Free:
    free = 1_000_000


def test_the_disk_is_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module.shutil, "disk_usage", lambda path: Free)
    with (
        serving(Site(CONTENT)) as site,
        pytest.raises(StoreError, match=r"needs 0\.1 MB more in .*, where 1\.0 MB are free") as caught,
    ):
        download(f"{site.address}/x", tmp_path, mirrors=[f"{site.address}/y"])
    assert caught.value.kind == "space"
    assert site.paths == ["/x"] and left(tmp_path) == []


@pytest.mark.parametrize("name", ["ADASDE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_asks_nobody(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with serving(Site(CONTENT)) as site:
        with pytest.raises(StoreError, match=rf"the network may not be used \({name} is set"):
            download(f"{site.address}/x", tmp_path)
        assert site.asked == []
        monkeypatch.setenv(name, "0")
        download(f"{site.address}/x", tmp_path)


def test_proxies_are_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Site(CONTENT)) as site:
        monkeypatch.setenv("http_proxy", site.address)
        monkeypatch.delenv("no_proxy", raising=False)
        assert download("http://models.invalid/x", tmp_path).read_bytes() == CONTENT
    assert site.paths == ["http://models.invalid/x"]


def test_the_progress_has_a_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ADASDE_PROGRESS", raising=False)
    with serving(Site(CONTENT)) as site:
        download(f"{site.address}/x", tmp_path, show="fetch x")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("fetch x: ") and lines[0].endswith("MB/s") and "s left)" in lines[0]
    assert lines[-1].startswith("fetch x: 100000/100000 bytes (")


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    with serving(Site(CONTENT)) as site, part_module.PartialFile(tmp_path / "x") as held:
        held.begin(part_module.Origin("elsewhere", "tag", 9))
        held.content.write(b"another")
        assert download(f"{site.address}/x", tmp_path).read_bytes() == CONTENT
        assert held.path.read_bytes() == b"another"
    assert left(tmp_path) == [".x.part", ".x.part.json", "x"]
    assert json.loads((tmp_path / ".x.part.json").read_text())["url"] == "elsewhere"
