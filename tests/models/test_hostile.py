"""Hostile checkpoint files: all are refused with the name that they ask for, and nothing is executed.

Each is opened in a child process of its own that may take half a gigabyte of memory and ten seconds.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import hostile
import pickle_code
import pytest

from adasde.errors import AdaSDEError
from adasde.integrations.released import load_predictor
from adasde.models.safe_pickle import open_checkpoint, process
from adasde.models.safe_pickle.sandbox.child import answer

MEMORY, SECONDS = 512 * 2**20, 10

HARMFUL = sorted(hostile.harmful(Path("flag")))
WRONG = hostile.wrong()
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "pickle": pickle_code.done,
    "zip": pickle_code.torch_zip,
    "legacy": pickle_code.legacy,
}


def in_a_child(work: Callable[[], str]) -> str:
    """What ``work()`` returns in a child of this process, within the limits."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 70
        with suppress(BaseException):
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            os.write(writer, work().encode()[:4000])
            code = 0
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, said
    return said


def refusal(open_file: Callable[[Path], object], path: Path) -> str:
    def work() -> str:
        try:
            open_file(path)
        except AdaSDEError as error:
            return str(error)
        return "opened"

    return in_a_child(work)


@pytest.mark.parametrize("name", HARMFUL)
def test_the_corpus_does_harm_where_it_is_believed(name: str, tmp_path: Path) -> None:
    flag = tmp_path / "executed"
    code, _ = hostile.harmful(flag)[name]
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            pickle.loads(pickle_code.done(code))
        os._exit(0)
    os.waitpid(pid, 0)
    for _ in range(100):
        if flag.exists():
            return
        time.sleep(0.02)
    pytest.fail("this pickle is harmless")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", HARMFUL)
def test_nothing_is_executed(name: str, form: str, tmp_path: Path) -> None:
    flag, path = tmp_path / "executed", tmp_path / "hostile.pkl"
    code, asked_for = hostile.harmful(flag)[name]
    path.write_bytes(FORMS[form](code))
    for open_file in (open_checkpoint, load_predictor) if form == "pickle" else (open_checkpoint,):
        said = refusal(open_file, path)
        assert said.startswith(f"{path}: the pickle asks for {asked_for}, which is not on the list")
        assert "nothing was executed" in said
    assert not flag.exists()


@pytest.mark.parametrize("name", HARMFUL)
def test_what_does_harm_is_refused_beside_a_predictor_too(name: str, tmp_path: Path) -> None:
    flag, path = tmp_path / "executed", tmp_path / "hostile.pkl"
    code, asked_for = hostile.harmful(flag)[name]
    entries = pickle_code.text("model") + b"N" + pickle_code.text("loss_fn") + code
    path.write_bytes(pickle_code.done(b"}(" + entries + b"u"))
    assert f"asks for {asked_for}, which is not on the list" in refusal(load_predictor, path)
    assert not flag.exists()


@pytest.mark.parametrize("form", ["pickle", "zip"])
@pytest.mark.parametrize("name", hostile.NAMES)
def test_names_that_are_not_on_the_list(name: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(FORMS[form](pickle_code.call(name)))
    assert refusal(open_checkpoint, path).startswith(f"{path}: the pickle asks for {name}, which is not")


@pytest.mark.parametrize("name", WRONG)
def test_bombs_and_lies(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SECONDS", 2)
    path = tmp_path / "hostile.pkl"
    content, expected = WRONG[name]
    path.write_bytes(content)
    said = refusal(open_checkpoint, path)
    assert said.startswith(f"{path}") and expected in said, said
    assert len(said) < 1000


def mutant(choose: random.Random, seeds: list[bytes]) -> bytes:
    """One of ``seeds`` with bytes changed, taken away, or put in from another."""
    data = bytearray(choose.choice(seeds))
    for _ in range(choose.randint(1, 6)):
        place, other = choose.randrange(len(data) + 1), choose.choice(seeds)
        begin = choose.randrange(len(other))
        new = choose.choice([b"", choose.randbytes(1), other[begin : begin + choose.randint(1, 60)]])
        data[place : place + choose.randint(0, 4)] = new
    return bytes(data)


def mutants(flag: Path, count: int) -> Iterator[bytes]:
    choose = random.Random(0)
    codes = [code for code, _ in hostile.harmful(flag).values()]
    seeds = [form(code) for code in codes for form in FORMS.values()]
    seeds += [
        content for content, message in WRONG.values() if message != hostile.HEAVY and len(content) < 5000
    ]
    return (mutant(choose, seeds) for _ in range(count))


def test_damaged_hostile_files_are_refused_or_harmless(tmp_path: Path) -> None:
    flag, path, refused = tmp_path / "executed", tmp_path / "mutant.pkl", 0
    for content in mutants(flag, 100):
        path.write_bytes(content)
        try:
            open_checkpoint(path)
        except AdaSDEError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 90 and not flag.exists()


def test_the_reader_itself_survives_damaged_hostile_files(tmp_path: Path) -> None:
    """The same without the process around it: at most the memory runs out."""
    flag = tmp_path / "executed"

    def work() -> str:
        for number, content in enumerate(mutants(flag, 10_000)):
            with suppress(MemoryError):
                answer(io.BytesIO(content), size=len(content), archive=bool(number % 2), keys=())
        return "survived"

    assert in_a_child(work) == "survived" and not flag.exists()
