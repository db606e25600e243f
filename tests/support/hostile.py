"""Pickles that would do harm where they are believed: made byte by byte, never by pickling an attack."""

from __future__ import annotations

import struct
from pathlib import Path

from pickle_code import (
    binary,
    call,
    done,
    legacy,
    named,
    stacked,
    storage,
    tensor,
    text,
    torch_zip,
    whole,
    zipped,
)


def module(state: bytes, class_name: str = "Net") -> bytes:
    """A persistent object of NVIDIA's around what ``state`` builds."""
    pairs = text("class_name") + text(class_name) + text("module_src") + text("raise SystemExit(77)")
    return call(
        "torch_utils.persistence._reconstruct_persistent_obj", b"}(" + pairs + text("state") + state + b"u"
    )


def network(state: bytes) -> bytes:
    return b"}" + text("ema") + module(state) + b"s"


def _doubled(levels: int) -> bytes:
    """A network that holds the same network twice, which holds ..."""
    code = module(b"}") + b"\x940"
    for level in range(levels):
        inner = b"h" + bytes([level])
        parts = b"}" + text("a") + inner + b"s" + text("b") + inner + b"s"
        code += module(b"}" + text("_modules") + parts + b"s") + b"\x940"
    return code + b"}" + text("ema") + b"h" + bytes([levels]) + b"s"


def harmful(flag: Path) -> dict[str, tuple[bytes, str]]:
    """Pickles that make the file ``flag`` if Python's own ``pickle`` opens them -> the name they ask for."""
    shell, program = text(f"touch {flag}"), text(f"open({str(flag)!r}, 'w')")
    argv = b"(" + text("touch") + text(str(flag)) + b"l"
    system = call("os.system", shell)
    os_module = call("importlib.import_module", text("os"))
    simple = {
        "os.system": shell,
        "posix.system": shell,
        "os.popen": shell,
        "os.mkdir": text(str(flag)),
        "subprocess.check_call": argv,
        "subprocess.getoutput": shell,
        "subprocess.Popen": argv,
        "builtins.eval": program,
        "builtins.exec": program,
        "builtins.open": text(str(flag)) + text("w"),
        "io.open": text(str(flag)) + text("w"),
        "pickle.loads": binary(done(system)),
        "_pickle.loads": binary(done(system)),
        "timeit.timeit": program + text("pass") + named("time.perf_counter") + b"K\x01",
        "runpy._run_code": program + b"}",
        "cProfile.run": program,
        "profile.run": program,
        "numpy.testing._private.utils.runstring": program + b"}",
    }
    chained = {
        "builtins.getattr": call(call("builtins.getattr", os_module, text("system")), shell),
        "functools.partial": call(call("functools.partial", named("os.system")), shell),
        "functools.reduce": call("functools.reduce", named("os.popen"), b"(" + shell + text("r") + b"l"),
        "operator.methodcaller": call(call("operator.methodcaller", text("system"), shell), os_module),
        "operator.attrgetter": call(call(call("operator.attrgetter", text("system")), os_module), shell),
    }
    hidden = {
        "eval of Python 2": (b"\x80\x02c__builtin__\neval\n(" + program + b"tR", "builtins.eval"),
        "INST": (b"(" + shell + b"ios\nsystem\n", "os.system"),
        "OBJ": (b"(" + named("subprocess.Popen") + argv + b"o", "subprocess.Popen"),
        "map": (
            call("collections.deque", call("builtins.map", named("os.system"), b"(" + shell + b"l")),
            "collections.deque",
        ),
        "STACK_GLOBAL": (call(stacked("os", "system"), shell), "os.system"),
        "by the memo": (call(text("system") + b"\x94" + text("posix") + b"h\x00\x93", shell), "posix.system"),
        "a dotted name": (call(stacked("pathlib", "os.system"), shell), "pathlib.os.system"),
        "in a list": (b"](" + system + b"e", "os.system"),
        "as a key": (b"}" + system + b"Ns", "os.system"),
        "as a state": (call("collections.OrderedDict") + b"}" + text("a") + system + b"sb", "os.system"),
        "as an argument": (
            call("collections.OrderedDict", b"]" + b"(" + text("a") + system + b"lta"),
            "os.system",
        ),
        "dropped": (system + b"0N", "os.system"),
        "in a frame": (b"\x95" + struct.pack("<Q", len(system)) + system, "os.system"),
        "in a storage": (call("torch.storage._load_from_bytes", binary(done(system))), "os.system"),
    }
    plain = {name: (call(name, arguments), name) for name, arguments in simple.items()}
    return plain | {name: (code, name) for name, code in chained.items()} | hidden


NAMES = (
    "nt.system",
    "builtins.__import__",
    "builtins.compile",
    "builtins.bytearray",
    "codecs.decode",
    "_codecs.decode",
    "types.FunctionType",
    "marshal.loads",
    "importlib.reload",
    "runpy.run_path",
    "pty.spawn",
    "shutil.rmtree",
    "socket.create_connection",
    "webbrowser.open",
    "ctypes.CDLL",
    "copyreg._reconstructor",
    "torch.load",
    "torch.hub.load",
    "torch.hub.load_state_dict_from_url",
    "torch.jit.load",
    "torch.serialization.load",
    "torch.utils.cpp_extension.load_inline",
    "torch.utils.collect_env.run",
    "torch.utils.data.dataloader.DataLoader",
    "torch._utils._rebuild_wrapper_subclass",
    "torch._utils._rebuild_device_tensor_from_numpy",
    "torch.nn.modules.module.warnings",
    "numpy.load",
    "numpy.f2py.compile",
    "numpy.core._internal._reconstruct",
    "dnnlib.util.open_url",
    "torch_utils.persistence._src_to_module",
    "some_package.function",
)
"""Names that are asked for with no argument."""


HEAVY = "MB of memory or"


def wrong() -> dict[str, tuple[bytes, str]]:
    """Files that ask for nothing by its name -> what the message says of them."""
    big = struct.pack("<Q", 2**40)
    ordered_dict = named("collections.OrderedDict")
    ordered = call(ordered_dict)
    array = call("numpy.core.multiarray._reconstruct", named("numpy.ndarray"), b"K\x00\x85", binary(b"b"))
    floats = (
        call("numpy.dtype", text("f4"), b"\x89", b"\x88") + b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xff"
    )
    floats += b"J\xff\xff\xff\xffK\x00tb"
    objects = call("numpy.dtype", text("O8"), b"\x89", b"\x88")
    one = call("torch.storage._load_from_bytes", binary(legacy(storage(1), claimed=1, numbers=b"\0" * 4)))
    ones = tensor(one, (1,), (1,))
    again = b"h\x00"
    bomb = text("x" * 100_000) + b"\x940" + call("_codecs.encode", again, text("latin1")) * 20_000
    loaded = call("torch.storage._load_from_bytes", again)
    nested = b")" + b"2\x86" * 60
    return {
        "a long list of bytes": (done(b"\x8e" + big + b"x"), HEAVY),
        "long bytes": (done(b"B\xff\xff\xff\xffx"), HEAVY),
        "long text": (done(b"\x8d" + big + b"x"), HEAVY),
        "a bytearray": (done(b"\x96" + struct.pack("<Q", 1) + b"x"), "without a network"),
        "a long bytearray": (done(b"\x96" + big + b"x"), HEAVY),
        "a number of many digits": (done(b"L" + b"9" * 1_000_000 + b"L\n"), "not a pickle that can be read"),
        "a number of many bytes": (
            done(b"\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6),
            "whole number of",
        ),
        "a number longer than the file": (done(b"\x8b" + struct.pack("<i", 2**30) + b"\x7f"), HEAVY),
        "a far place of the memo": (done(b"Nr\xff\xff\xff\x7f"), HEAVY),
        "nested pairs as a key": (done(b"}" + nested + b"Ns"), HEAVY),
        "nested pairs in a set": (done(b"\x8f(" + nested + b"\x90"), HEAVY),
        "a pair as a key": (done(b"}" + b")Ns"), "key of the class tuple"),
        "deep pairs as a key": (done(b"}" + b")" + b"\x85" * 500_000 + b"Ns"), HEAVY),
        "keys of one hash": (
            done(b"}(" + b"".join(whole(key * (2**61 - 1)) + b"N" for key in range(1, 60_000)) + b"u"),
            HEAVY,
        ),
        "sets beyond number": (done(b"](" + b"\x8f" * 2_000_000 + b"e"), HEAVY),
        "the same bytes again and again": (done(bomb), HEAVY),
        "the same pairs again and again": (
            done(
                b"]("
                + b"".join(text(str(key)) + b"N\x86" for key in range(20_000))
                + b"e\x940"
                + call("collections.OrderedDict", again) * 2000
            ),
            HEAVY,
        ),
        "the same storage again and again": (
            done(
                binary(legacy(storage(250_000), claimed=250_000, numbers=bytes(10**6)))
                + b"\x940"
                + network(b"}" + text("a") + b"(" + tensor(loaded, (1,), (1,)) * 10 + b"ls")
            ),
            "again and again",
        ),
        "deep lists": (done(b"]" * 500_000 + b"a" * 499_999), "no end"),
        "deep pairs": (done(b")" + b"\x85" * 500_000), "no end"),
        "instructions for nothing": (done(b"N0" * 1_100_000 + b"N"), "without a network"),
        "an extension code": (done(b"\x82\x05"), "extension code 5"),
        "a long extension code": (done(b"\x84\x05\x00\x00\x00"), "extension code 5"),
        "a persistent id in text": (done(b"Pos.system\n"), "data outside itself"),
        "a persistent id": (done(text("os.system") + b"Q"), "data outside itself"),
        "buffers of another place": (done(b"\x97"), "buffers"),
        "a name that is a number": (done(b"K\x01" + text("system") + b"\x93"), "STACK_GLOBAL requires str"),
        "a call of text": (done(call(text("os.system"))), "'str' object is not callable"),
        "a call of a result": (done(call(ordered)), "'Mapping' object is not callable"),
        "a call with a list": (done(named("collections.OrderedDict") + b"]R"), "must be a tuple"),
        "a call with names": (
            done(named("collections.OrderedDict") + b")}" + text("a") + b"Ns\x92"),
            "without a network",
        ),
        "the state of a function": (
            done(named("collections.OrderedDict") + b"}" + text("__call__") + b"Nsb"),
            "changes an object of collections.OrderedDict",
        ),
        "the slots of a function": (
            done(named("torch.Size") + b"N}" + text("__new__") + b"Ns\x86b"),
            "changes an object of torch.Size",
        ),
        "the slots of a module": (
            done(module(b"}" + text("a") + b"Ns") + b"N}" + text("class_name") + b"Ns\x86b"),
            "sets the state of Net",
        ),
        "more of a function": (done(named("torch.Size") + b"Na"), "changes an object of torch.Size"),
        "a name that writes on the terminal": (done(b"cos\nsystem\x1b[2J\n"), r"os.system\x1b[2J"),
        "the state of a list": (done(b"]}b"), "'list' object"),
        "the state of a tensor": (
            done(tensor(one, (1,), (1,)) + b"}b"),
            "changes an object of the class Tensor",
        ),
        "an entry of a tensor": (done(ones + text("a") + b"Ns"), "'Tensor' object"),
        "an entry of a function": (
            done(named("numpy.ndarray") + text("a") + b"Ns"),
            "object of numpy.ndarray",
        ),
        "more in a dictionary": (done(b"}Na"), "'dict' object"),
        "a second state": (done(module(b"}" + text("a") + b"Ns") + b"}b"), "state of Net"),
        "a module with arguments": (done(call("torch.nn.modules.linear.Linear", b"K\x01")), "with arguments"),
        "another encoding": (
            done(call("_codecs.encode", text("x"), text("rot13"))),
            "_codecs.encode with 'rot13'",
        ),
        "pairs that are none": (
            done(call("collections.OrderedDict", text("ab"))),
            "is required",
        ),
        "an array of objects": (done(objects), "numpy.dtype of 'O8'"),
        "a number of objects": (
            done(call("numpy.core.multiarray.scalar", b"N", binary(b""))),
            "invalid number",
        ),
        "an array that lies": (
            done(array + b"(K\x01" + whole(2**40) + b"\x85" + floats + b"\x89" + binary(b"abcd") + b"tb"),
            "numpy array that lies",
        ),
        "an array without numbers": (done(array + b"(K\x01K\x01\x85N\x89]tb"), "numpy array of objects"),
        "a tensor of nothing": (done(tensor(b"N", (1,), (1,))), "invalid tensor"),
        "a tensor beyond its storage": (done(tensor(one, (2,), (1,))), "lies about its size"),
        "a tensor behind its storage": (done(tensor(one, (1,), (1,), 1)), "lies about its size"),
        "a tensor before its storage": (
            done(tensor(one, (1,), (1,), -1)),
            "invalid tensor",
        ),
        "a tensor of one number, repeated": (done(tensor(one, (2**40,), (0,))), "lies about its size"),
        "a parameter of text": (
            done(call("torch._utils._rebuild_parameter", text("x"))),
            "a parameter without a tensor",
        ),
        "a storage larger than the file": (legacy(storage(2**38), claimed=2**38), "lies about its size"),
        "a storage of another size": (legacy(storage(1), claimed=2, numbers=bytes(8)), "lies about its size"),
        "a storage of a storage": (
            done(call("torch.storage._load_from_bytes", binary(legacy(one)))),
            "asks for torch.storage._load_from_bytes",
        ),
        "a storage of text": (legacy(storage(1, "collections.OrderedDict"), claimed=1), "unknown kind"),
        "a file that is mapped lies": (
            torch_zip(b"}" + text("a") + tensor(storage(1000), (1000,), (1,)) + b"s", s0=bytes(4)),
            "4000 bytes in 4",
        ),
        "a network in itself": (
            done(
                b"}\x940" + module(again) + b"\x940"
                b"h\x00" + text("_modules") + b"}" + text("a") + b"h\x01ss0}" + text("ema") + b"h\x01s"
            ),
            "no end",
        ),
        "a network of 2^25 parts": (done(_doubled(25)), "no end"),
        "a new object": (done(named("subprocess.Popen") + b")\x81"), "asks for subprocess.Popen"),
        "a new object with names": (done(named("zipfile.ZipFile") + b")}\x92"), "asks for zipfile.ZipFile"),
        "a program": (
            zipped({"a/data.pkl": done(b"}"), "a/constants.pkl": done(b"}"), "a/code/x.py": b""}),
            "TorchScript",
        ),
    }
