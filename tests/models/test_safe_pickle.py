"""Checkpoint files of other projects: read as torch reads them, with nothing of them executed."""

from __future__ import annotations

import io
import pickle
import stat
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from pickle_code import call, done, named, text, torch_zip, zipped
from torch import Tensor, nn

from adasde.errors import CheckpointError
from adasde.models.safe_pickle import load_pickle, open_checkpoint, unpack, zip_reader


class Persistent(nn.Module):
    """Pickles as NVIDIA's persistent classes do: its state, and source code that must not run."""

    reconstruct: object

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()
        self._init_args, self._init_kwargs = args, kwargs

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": "raise SystemExit(77)"}
        meta |= {"class_name": type(self).__name__, "state": dict(self.__dict__)}
        return Persistent.reconstruct, (meta,)


class Conv2d(Persistent):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, kernel=kernel)
        self.weight = nn.Parameter(torch.randn(channels, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.randn(channels, dtype=torch.float16))
        self.register_buffer("filter", torch.ones(2, 2).t())
        self.register_buffer("scratch", torch.ones(3), persistent=False)


class SongUNet(Persistent):
    def __init__(self, resolution: int) -> None:
        super().__init__(img_resolution=resolution, channel_mult=[1, 2], label_dropout=np.float64(0.5))
        self.enc = nn.ModuleDict({"8x8_conv": Conv2d(2, kernel=3), "8x8_none": None})
        self.blocks = nn.ModuleList([nn.Linear(2, 2)])


class EDMPrecond(Persistent):
    def __init__(self, resolution: int) -> None:
        super().__init__(img_resolution=resolution, model_type="SongUNet")
        self.sigma_max, self.sigma_data = float("inf"), 0.5
        self.model = SongUNet(resolution)


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> type[dict]:
    """Stand-ins for NVIDIA's functions, so that pickles can name them; EasyDict."""
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta: object) -> None:
        raise AssertionError("must not be called")

    class EasyDict(dict):
        pass

    for module, thing in ((persistence, _reconstruct_persistent_obj), (util, EasyDict)):
        thing.__module__, thing.__qualname__ = module.__name__, thing.__name__
        setattr(module, thing.__name__, thing)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(sys.modules, module.__name__.partition(".")[0], types.ModuleType("package"))
    monkeypatch.setattr(Persistent, "reconstruct", _reconstruct_persistent_obj, raising=False)
    return EasyDict


def same(opened: object, expected: dict[str, Tensor]) -> None:
    assert set(opened) == set(expected)
    for name, value in expected.items():
        assert opened[name].dtype == value.dtype and torch.equal(opened[name], value), name


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickled_network(upstream: type[dict], protocol: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path = EDMPrecond(8), tmp_path / "edm.pkl"
    document = {"ema": network, "dataset_kwargs": upstream(path="x", resolution=8), "loss_fn": Persistent(1)}
    path.write_bytes(pickle.dumps(document, protocol))
    opened = open_checkpoint(path)
    same(opened.tensors, network.state_dict())
    modules = opened.about["modules"]
    assert opened.about["format"] == "nvidia"
    assert modules[""]["class_name"] == "EDMPrecond"
    assert modules[""]["kwargs"] == {"img_resolution": 8, "model_type": "SongUNet"}
    assert modules[""]["attributes"]["sigma_data"] == 0.5
    assert modules["model"]["kwargs"]["channel_mult"] == [1, 2]
    assert modules["model"]["kwargs"]["label_dropout"] == 0.5
    assert modules["model.enc.8x8_conv"]["args"] == [2]
    assert modules["model.blocks.0"]["class_name"] == "torch.nn.modules.linear.Linear"


def test_a_pickle_without_the_network_says_what_it_holds(upstream: type[dict], tmp_path: Path) -> None:
    network, path = EDMPrecond(8), tmp_path / "edm.pkl"
    path.write_bytes(pickle.dumps({"G": network, "D": None}))
    with pytest.raises(CheckpointError, match=r"a pickle without a network 'ema'; it holds G, D"):
        open_checkpoint(path)
    same(open_checkpoint(path, key="G").tensors, network.state_dict())


def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    whole = torch.randn(6, 4)
    return {
        "a.weight": whole,
        "a.part": whole[1:3, ::2],
        "half": torch.randn(3).bfloat16(),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 2),
        "flags": torch.tensor([True, False]),
    }


@pytest.mark.parametrize("new", [True, False])
def test_files_of_torch_save_are_read_as_torch_does(new: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(weights(), path, _use_new_zipfile_serialization=new)
    same(open_checkpoint(path).tensors, torch.load(path, weights_only=True))
    assert open_checkpoint(path).about["format"] == "torch"


@pytest.mark.parametrize("new", [True, False])
def test_weights_that_share_a_storage_share_it_after_reading(new: bool, tmp_path: Path) -> None:
    whole = torch.randn(4, 4)
    torch.save({"a": whole, "b": whole.t()}, tmp_path / "tied.pt", _use_new_zipfile_serialization=new)
    opened = open_checkpoint(tmp_path / "tied.pt").tensors
    opened["a"][0, 1] = 7
    assert opened["b"][1, 0] == 7


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_of_numpy_become_tensors(protocol: int, tmp_path: Path) -> None:
    numbers = np.arange(6).reshape(2, 3)
    arrays = [numbers.astype(code) for code in ("<f4", ">f8", "i1", "?")]
    arrays += [np.asfortranarray(numbers), np.array(5)]
    arrays += [np.zeros((0, 2))] if protocol > 2 else []
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps({"arrays": arrays, "number": np.float32(0.5)}, protocol))
    read = load_pickle(path)
    assert read["number"] == 0.5
    for array, tensor in zip(arrays, read["arrays"], strict=True):
        assert tensor.dtype == torch.from_numpy(array.astype(array.dtype.newbyteorder("="))).dtype
        assert tensor.shape == array.shape and tensor.tolist() == array.tolist()


FOREIGN = {
    "a function": named("solvers.dpm_sampler"),
    "a call": call("solvers.dpm_sampler", text("x")),
    "an object with a state": call("training.loss.some_loss") + b"}" + text("a") + b"Nsb",
    "a row of a class of its own": call("training.loss.Buffer") + b"Na",
}


@pytest.mark.parametrize("code", FOREIGN.values(), ids=FOREIGN)
def test_foreign_names_are_nothing_where_they_are_not_needed(code: bytes, tmp_path: Path) -> None:
    path = tmp_path / "both.pkl"
    inside = b"}" + text("steps") + b"K\x04s" + text("solver") + code + b"s"
    path.write_bytes(done(b"}" + text("a") + b"K\x01s" + text("b") + inside + b"s"))
    read = load_pickle(path, needed=("a",))
    assert read == {"a": 1, "b": {"steps": 4, "solver": None}}
    for needed in (("b",), ()):
        with pytest.raises(CheckpointError, match=r"asks for (solvers|training)\..*not on the list"):
            load_pickle(path, needed=needed)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.load", "numpy.load", "shutil.rmtree"])
def test_names_of_python_and_torch_are_refused_everywhere(name: str, tmp_path: Path) -> None:
    path = tmp_path / "both.pkl"
    path.write_bytes(done(b"}" + text("a") + b"K\x01s" + text("b") + call(name, text("x")) + b"s"))
    with pytest.raises(CheckpointError, match=f"the pickle asks for {name}, which is not on the list"):
        load_pickle(path, needed=("a",))


def test_a_process_that_cannot_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "weights.pt")
    for program, message in (
        ("/lost/python", "cannot start /lost/python"),
        ("/bin/false", "/bin/false.*failed"),
    ):
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(CheckpointError, match=rf"weights\.pt: {message}"):
            open_checkpoint(tmp_path / "weights.pt")


def lightning_checkpoint(monkeypatch: pytest.MonkeyPatch, path: Path) -> dict[str, Tensor]:
    """A training checkpoint with callbacks, settings and optimiser states beside its weights."""
    module = types.ModuleType("pytorch_lightning.callbacks")

    class ModelCheckpoint:
        def __init__(self) -> None:
            self.best = torch.tensor(0.5)

        def __setstate__(self, state: object) -> None:
            raise AssertionError("must not be called")

    class Settings(dict):
        pass

    for kind in (ModelCheckpoint, Settings):
        kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
        setattr(module, kind.__name__, kind)
    for name in ("pytorch_lightning", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    document = {
        "epoch": 3,
        "state_dict": weights(),
        "callbacks": {ModelCheckpoint: {"best": np.float32(1.5), "model": ModelCheckpoint()}},
        "hyper_parameters": Settings(lr=1e-4, kind=dict, path=Path("x"), raw=np.arange(3)),
        "optimizer_states": [
            {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"betas": (0.9, 1)}]}
        ],
    }
    torch.save(document, path)
    for name in ("pytorch_lightning", module.__name__):
        monkeypatch.delitem(sys.modules, name)
    return document["state_dict"]


def test_training_checkpoints_give_their_weights_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = lightning_checkpoint(monkeypatch, tmp_path / "last.ckpt")
    same(open_checkpoint(tmp_path / "last.ckpt").tensors, expected)
    with pytest.raises(CheckpointError, match=r"no weights 'model'; it holds epoch, state_dict, callbacks"):
        open_checkpoint(tmp_path / "last.ckpt", key="model")
    with pytest.raises(
        CheckpointError, match=r"weights: 'pytorch_lightning\.callbacks\.ModelCheckpoint' is not a tensor"
    ):
        open_checkpoint(tmp_path / "last.ckpt", key="callbacks")


def test_objects_among_the_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.ckpt"
    for code in (b"}X\x01\x00\x00\x00a" + call("some.Thing") + b"s", b"}"):
        path.write_bytes(torch_zip(code))
        with pytest.raises(CheckpointError, match=r"odd\.ckpt holds something else than weights"):
            open_checkpoint(path)
    path.write_bytes(torch_zip(b"]"))
    with pytest.raises(CheckpointError, match="holds no mapping of names to weights"):
        open_checkpoint(path)


def test_safetensors_are_read(tmp_path: Path) -> None:
    plain = {name: value.contiguous().clone() for name, value in weights().items()}
    safetensors.torch.save_file(plain, tmp_path / "model.safetensors")
    opened = open_checkpoint(tmp_path / "model.safetensors")
    same(opened.tensors, plain)
    assert opened.about == {"format": "safetensors"}


@pytest.mark.parametrize("size", [0, 1, 100, 900, -100, -30])
@pytest.mark.parametrize("new", [True, False])
def test_files_that_are_cut_short(new: bool, size: int, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(weights(), path, _use_new_zipfile_serialization=new)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"weights\.pt (is not a|holds|is an)"):
        open_checkpoint(path)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*lost\.pt: No such file"):
        open_checkpoint(tmp_path / "lost.pt")


def test_an_archive_is_unpacked_below_its_folder(tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(
        zipped({"a/model.ckpt": b"12", "config.yaml": b"x"}, zipfile.ZIP_DEFLATED)
    )
    files = unpack(tmp_path / "m.zip", tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in files] == [
        "a/model.ckpt",
        "config.yaml",
    ]
    assert [path.read_bytes() for path in files] == [b"12", b"x"]
    with pytest.raises(CheckpointError, match=r"m\.zip is an archive without weights of its own: unpack it"):
        open_checkpoint(tmp_path / "m.zip")


def link() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(entry, "/etc/passwd")
    return stream.getvalue()


def overlapping() -> bytes:
    """Two entries over the same bytes."""
    data = bytearray(zipped({"a": b"x" * 100, "b": b"x" * 100}))
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = bytes(4)  # begins where the first does
    data[second + 20 : second + 28] = (300).to_bytes(4, "little") * 2
    return bytes(data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"../x": b""}), "'../x' lies outside the folder"),
        (zipped({"a/../../x": b""}), "lies outside the folder"),
        (zipped({"/etc/x": b""}), "'/etc/x' lies outside the folder"),
        (zipped({"C:\\x": b""}), "lies outside the folder"),
        (zipped({"a//x": b""}), "lies outside the folder"),
        (zipped({"a\x1bx": b""}), "lies outside the folder"),
        (zipped({"fine": b"1", "../x": b""}), "lies outside the folder"),
        (link(), "'link' is a link or a special file"),
        (zipped({"zeros": bytes(10**6)}, zipfile.ZIP_DEFLATED), "'zeros' grows from"),
        (overlapping(), "its files overlap"),
        (b"PK\x03\x04 nothing", "is not a complete zip file"),
    ],
)
def test_hostile_archives_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m\.zip ") as caught:
        unpack(tmp_path / "m.zip", tmp_path / "inner/out")
    assert message in str(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["m.zip"]


def test_archives_have_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(zipped({"a": b"12", "b": b"34"}))
    with monkeypatch.context() as patch:
        patch.setattr(zip_reader, "LARGEST", 3)
        with pytest.raises(CheckpointError, match="its files have 4 bytes together, more than 3"):
            unpack(tmp_path / "m.zip", tmp_path / "out")
    monkeypatch.setattr(zip_reader, "MOST_FILES", 1)
    with pytest.raises(CheckpointError, match="it holds 2 files, more than 1"):
        unpack(tmp_path / "m.zip", tmp_path / "out")


def test_compressed_storages_and_other_byte_orders_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"a": torch.randn(50)}, path)
    with zipfile.ZipFile(path) as made:
        files = {name: made.read(name) for name in made.namelist()}
    path.write_bytes(zipped(files, zipfile.ZIP_DEFLATED))
    with pytest.raises(CheckpointError, match="is compressed, as torch never does"):
        open_checkpoint(path)
    path.write_bytes(zipped(files | {"m/byteorder": b"big"}))
    with pytest.raises(CheckpointError, match="holds numbers of another byte order"):
        open_checkpoint(path)
    path.write_bytes(zipped({"m/data.pkl": done(b"}"), "m/other/data.pkl": done(call("os.system"))}))
    with pytest.raises(CheckpointError, match=r"holds m/data\.pkl, m/other/data\.pkl in place of one"):
        open_checkpoint(path)
