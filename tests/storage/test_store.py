"""A folder as a store: the promises of every store, and failures of folders."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from store_contract import CONTENT, StoreContract

from adasde.errors import ParamsError, StoreError
from adasde.storage import LocalStore, base, configured_url, local_copy, open_store, resolve


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("store") / "not yet there")


class TestLocalStore(StoreContract):
    """The promises of every store."""


def test_nothing_is_made_before_something_is_stored(store: LocalStore) -> None:
    assert list(store.list()) == []
    assert not store.exists("a")
    assert not store.folder.exists()


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), "was altered by another program"),
        (lambda path: os.truncate(path, 3), "was altered by another program"),
        (lambda path: (path.parent / ".sha256/key.sha256").unlink(), "has no checksum"),
    ],
)
def test_an_altered_object_is_refused(
    store: LocalStore, tmp_path: Path, alter: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "REREAD_PAUSE", 0.0)
    store.write("key", CONTENT)
    alter(store.folder / "key")  # type: ignore[operator]
    for call in (lambda: store.read("key"), lambda: store.get("key", tmp_path / "target")):
        with pytest.raises(StoreError, match=f"key.*{message}.*store the object again") as caught:
            call()
        assert caught.value.kind == "checksum"
    assert list(tmp_path.iterdir()) == []
    store.write("key", CONTENT)
    assert store.read("key") == CONTENT


def test_an_object_of_another_program_is_taken_where_that_is_asked_for(
    store: LocalStore, tmp_path: Path
) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / "theirs").write_bytes(CONTENT)
    store.get("theirs", tmp_path / "target", unchecked=True)
    assert (tmp_path / "target").read_bytes() == CONTENT


class Killed(BaseException):
    """Stands for a process that ends here and now."""


@pytest.mark.parametrize("renames", range(4))
def test_a_crash_while_an_object_is_replaced_leaves_the_old_or_the_new_one(
    store: LocalStore, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("key", b"old")
    real, left = Path.replace, renames

    def replace(path: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        try:
            store.write("key", b"new")
            ended = True
        except Killed:
            ended = False
    assert ended == (renames == 3)
    assert store.read("key") == (b"new" if renames >= 2 else b"old")
    assert [entry.key for entry in store.list()] == ["key"]
    store.write("key", b"newer")
    assert store.read("key") == b"newer"


def test_readers_and_writers_at_once(store: LocalStore) -> None:
    contents = [bytes([k]) * 100_000 for k in range(4)]
    store.write("key", contents[0])
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                if store.read("key") not in contents:
                    wrong.append("torn")
            except StoreError as error:
                wrong.append(str(error))

    def write(mine: bytes) -> None:
        for _ in range(30):
            store.write("key", mine)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert wrong == []
    assert store.read("key") in contents


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def write(file: base.HashedFile, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(base.HashedFile, "write", write)
        yield


def test_a_full_disk_loses_nothing_and_the_retry_works(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    store.write("key", b"old")
    words = r"No space left on device.*What was there before is kept; free some space.*same command again"
    with full_disk(monkeypatch):
        with pytest.raises(StoreError, match=f"cannot store .*key: {words}") as caught:
            store.put(tmp_path / "file", "key")
        assert caught.value.kind == "space"
        with pytest.raises(StoreError, match=f"cannot get .*key: {words}"):
            store.get("key", tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["file"]
    assert [entry.key for entry in store.list()] == ["key"]
    assert store.read("key") == b"old"
    store.put(tmp_path / "file", "key")
    assert store.read("key") == CONTENT


def test_a_key_that_is_a_folder_of_another(store: LocalStore, tmp_path: Path) -> None:
    store.write("a/b", b"x")
    with pytest.raises(StoreError, match=r"cannot store .*/a: Is a directory"):
        store.write("a", b"y")
    with pytest.raises(StoreError, match=r"cannot store .*/a/b/c: (Not a directory|File exists)"):
        store.write("a/b/c", b"y")
    with pytest.raises(StoreError, match="is not there"):
        store.read("a")
    assert store.read("a/b") == b"x"


def test_many_transfers_end_soon_after_a_failure() -> None:
    started = threading.Barrier(2, timeout=10)

    def work(key: str, advance: object) -> None:
        started.wait()
        if key == "bad":
            raise StoreError("the reason")
        while True:
            advance(1)  # type: ignore[operator]

    with pytest.raises(StoreError, match="the reason"):
        base.in_parallel(work, {"bad": None, "good": None}, None)


class TestAddresses:
    """Addresses of stores and their precedence."""

    @pytest.fixture(autouse=True)
    def _no_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ADASDE_STORAGE_URL", raising=False)

    def test_the_environment_then_params_then_the_projects_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert configured_url(tmp_path) is None
        assert open_store(project=tmp_path).url == str(tmp_path / "store")
        (tmp_path / "params.yaml").write_text("storage: {url: shared/bytes}\n")
        assert open_store(project=tmp_path).url == configured_url(tmp_path) == str(tmp_path / "shared/bytes")
        monkeypatch.setenv("ADASDE_STORAGE_URL", "s3://bucket/prefix")
        assert configured_url(tmp_path) == "s3://bucket/prefix"
        monkeypatch.setenv("ADASDE_STORAGE_URL", "")
        assert configured_url(tmp_path) == str(tmp_path / "shared/bytes")

    @pytest.mark.parametrize("text", ["storage: {url: null}", "storage: {}", "storage: 3", "seed: 1"])
    def test_params_that_name_no_store(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "params.yaml").write_text(text)
        assert configured_url(tmp_path) is None

    def test_damaged_params_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "params.yaml").write_text("storage: {")
        with pytest.raises(ParamsError, match=r"params\.yaml.*not valid YAML"):
            open_store(project=tmp_path)

    def test_folders(self, tmp_path: Path) -> None:
        for address in (str(tmp_path), tmp_path.as_uri(), f"file://localhost{tmp_path}"):
            assert open_store(address).url == str(tmp_path)
        assert open_store("file:///a%20b/c").url == "/a b/c"
        assert open_store("sub", project=tmp_path).url == str(tmp_path / "sub")

    @pytest.mark.parametrize("url", ["gs://b/x", "https://host/x", "s3://", "s3:///x", "models:/x", " "])
    def test_other_addresses_are_refused(self, url: str) -> None:
        with pytest.raises(
            StoreError, match=r"no address of a store: write s3://bucket/prefix.*storage\.url"
        ):
            open_store(url)

    def test_files_of_other_machines_are_refused(self) -> None:
        with pytest.raises(StoreError, match="a file of another machine"):
            open_store("file://host/x")


class TwinStore(LocalStore):
    """A backend for addresses such as ``twin://name``: a folder of that name."""

    def __init__(self, url: str, *, patience: base.Patience) -> None:
        super().__init__(url.replace("twin:/", "twins", 1))


def test_a_backend_is_a_class_and_its_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(resolve.BACKENDS, "twin", f"{__name__}:TwinStore")
    store = open_store("twin://a/b")
    assert isinstance(store, TwinStore)
    store.write("key", CONTENT)
    assert local_copy("twin://a/b/key", tmp_path / "copy").read_bytes() == CONTENT
    monkeypatch.setenv("ADASDE_STORAGE_URL", "twin://a/b")
    assert configured_url() == "twin://a/b"
    with pytest.raises(StoreError, match="no address of a store"):
        open_store("twin://")
