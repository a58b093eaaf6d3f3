"""Files made to harm whoever reads them, by name. CANARY is the file that the live ones write if they are run."""

from __future__ import annotations

import io
import struct
import zipfile

CANARY = "canary"
TOUCH = f"touch {CANARY}"
WRITE = f"open({CANARY!r}, 'w').close()"
MARK, TUPLE, REDUCE, BUILD, NEWOBJ, EMPTY_TUPLE, POP = b"(", b"t", b"R", b"b", b"\x81", b")", b"0"
LIST, DICT, SETITEM, APPEND, MEMOIZE, STOP = b"]", b"}", b"s", b"a", b"\x94", b"."
TRUE, FALSE, NONE = b"\x88", b"\x89", b"N"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def blob(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def tuple_(*values: bytes) -> bytes:
    return MARK + b"".join(values) + TUPLE


def call(module: str, attribute: str, *args: bytes) -> bytes:
    return name(module, attribute) + tuple_(*args) + REDUCE


def pickled(*parts: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + b"".join(parts) + STOP


def dict_(**items: bytes) -> bytes:
    return DICT + MARK + b"".join(text(key) + value for key, value in items.items()) + b"u"


def persistent(**meta: bytes) -> bytes:
    """An object of NVIDIA's, as its snapshots hold it."""
    return call("torch_utils.persistence", "_reconstruct_persistent_obj", dict_(**meta))


def storage_id(key: str, count: int, *rest: bytes, kind: bytes = b"ctorch\nFloatStorage\n") -> bytes:
    return tuple_(text("storage"), kind, text(key), text("cpu"), number(count), *rest) + b"Q"


def tensor(storage: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    sizes, strides = (tuple_(*map(number, values)) for values in (size, stride))
    hooks = call("collections", "OrderedDict")
    return call("torch._utils", "_rebuild_tensor_v2", storage, number(offset), sizes, strides, FALSE, hooks)


def zipped(pickle: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """A file as torch.save writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("x/data.pkl", pickle)
        archive.writestr("x/byteorder", more.pop("byteorder", b"little"))
        for key, data in storages.items():
            archive.writestr(f"x/data/{key}", data)
        for entry, data in more.items():
            archive.writestr(entry, data)
    return out.getvalue()


def legacy(pickle: bytes, keys: list[str], numbers: bytes, little: bytes = TRUE) -> bytes:
    """A file as torch.save wrote it before 1.6, and as a storage is still pickled."""
    magic = pickled(number(0x1950A86A20F9469CFC6C), protocol=2)
    facts = pickled(dict_(protocol_version=number(1001), little_endian=little), protocol=2)
    listed = pickled(LIST, *(text(key) + APPEND for key in keys), protocol=2)
    return magic + pickled(number(1001), protocol=2) + facts + pickle + listed + numbers


def payload(data: bytes) -> bytes:
    return call("torch.storage", "_load_from_bytes", blob(data))


def array(dtype: bytes, shape: tuple[int, ...], data: bytes) -> bytes:
    empty = call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), tuple_(number(0)), blob(b"b"))
    return empty + tuple_(number(1), tuple_(*map(number, shape)), dtype, FALSE, blob(data)) + BUILD


def nested(depth: int) -> bytes:
    return LIST * depth + APPEND * (depth - 1)


F4 = call("numpy", "dtype", text("f4"), FALSE, TRUE) + (
    tuple_(number(3), text("<"), NONE, NONE, NONE, number(-1), number(-1), number(0)) + BUILD
)
OBJECT = call("numpy", "dtype", text("O8"), FALSE, TRUE)
SYSTEM = call("os", "system", text(TOUCH))
GOOD_STORAGE = pickled(storage_id("0", 4, NONE), protocol=2)


def one_tensor(offset: int, size: tuple[int, ...], stride: tuple[int, ...], count: int = 4, held: int = 4) -> bytes:
    return zipped(pickled(tensor(storage_id("0", count), offset, size, stride), protocol=2), {"0": bytes(4 * held)})


def billion_laughs(lists: int = 60) -> bytes:
    """Each list holds the one before it twice: 2^60 leaves for whoever walks it without remembering."""
    level = b"".join(POP + LIST + MEMOIZE + 2 * (b"h" + bytes([i]) + APPEND) for i in range(lists))
    return pickled(LIST + MEMOIZE + level)


def slow_hash(depth: int = 60) -> bytes:
    """A tuple of tuples as a key: its hash visits 2^60 leaves."""
    level = b"".join(POP + b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86" + MEMOIZE for i in range(depth))
    return pickled(EMPTY_TUPLE + MEMOIZE + level + DICT + b"h" + bytes([depth]) + NONE + SETITEM)


def same_hashes(count: int = 5000) -> bytes:
    """Numbers that all hash alike make a dictionary as slow as a list searched for every key."""
    return pickled(DICT, MARK, *(number(i * (2**61 - 1)) + NONE for i in range(count)), b"u")


def _module_src() -> bytes:
    source = text(f"import os\nos.system({TOUCH!r})\nclass Generator: pass\n")
    return persistent(type=text("class"), version=number(6), module_src=source, class_name=text("Generator"))


def zip_named(entry: str) -> bytes:
    return zipped(pickled(NONE), {}, **{entry: b"x"})


def encrypted_zip() -> bytes:
    data = bytearray(zipped(pickled(NONE), {}))
    at = data.find(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


def zip_that_lies(size: int) -> bytes:
    """The directory says that data.pkl is `size` bytes."""
    data = bytearray(zipped(pickled(NONE), {}))
    at = data.find(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", size, size)
    return bytes(data)


def inst(module: str, attribute: str, argument: str) -> bytes:
    return b"\x80\x02" + MARK + text(argument) + f"i{module}\n{attribute}\n".encode() + STOP


# Those that run something when Python's own unpickler reads them.
LIVE: dict[str, bytes] = {
    "os.system": pickled(SYSTEM),
    "posix.system": pickled(call("posix", "system", text(TOUCH))),
    "subprocess.Popen": pickled(call("subprocess", "Popen", tuple_(text("touch"), text(CANARY)))),
    "eval": pickled(call("builtins", "eval", text(WRITE))),
    "exec": pickled(call("builtins", "exec", text(WRITE))),
    "protocol 2 global": pickled(b"cos\nsystem\n", tuple_(text(TOUCH)), REDUCE, protocol=2),
    "protocol 0 text": b"cos\nsystem\n(S'" + TOUCH.encode() + b"'\ntR.",
    "text opcodes in protocol 2": b"\x80\x02cos\nsystem\n(S'" + TOUCH.encode() + b"'\ntR.",
    "INST": inst("os", "system", TOUCH),
    "OBJ": pickled(MARK, name("subprocess", "Popen"), tuple_(text("touch"), text(CANARY)), b"o"),
    "NEWOBJ": pickled(
        name("functools", "partial"), tuple_(name("os", "system"), text(TOUCH)), NEWOBJ, POP, SYSTEM
    ),
    "chain through getattr": pickled(
        call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system")),
        tuple_(text(TOUCH)), REDUCE,
    ),
    "dotted name": pickled(call("os", "path.os.system", text(TOUCH))),
    "apply over map": pickled(call("builtins", "list", call("builtins", "map", name("os", "system"),
                                                            tuple_(text(TOUCH))))),
    "inside an allowed call": pickled(call("collections", "OrderedDict", LIST + SYSTEM + POP)),
    "inside NVIDIA's state": pickled(DICT, POP, LIST, SYSTEM, APPEND),
    "after the first value": pickled(NONE, POP, SYSTEM),
    "operator.methodcaller": pickled(
        call("operator", "methodcaller", text("system"), text(TOUCH)),
        tuple_(call("importlib", "import_module", text("os"))), REDUCE,
    ),
    "runpy": pickled(call("builtins", "exec", call("builtins", "compile", text(WRITE), text("x"), text("exec")))),
}  # fmt: skip

# Those that lie, swell, or break a careless reader.
HARMFUL: dict[str, bytes] = {
    "embedded module_src, then a call": pickled(LIST, _module_src(), APPEND, SYSTEM, APPEND),
    "system inside a persistent object": pickled(persistent(type=text("class"), state=dict_(x=SYSTEM))),
    "__setstate__ of a foreign class": pickled(name("codecs", "StreamReader"), EMPTY_TUPLE, NEWOBJ, DICT, BUILD),
    "BUILD on a plain dict": pickled(DICT, dict_(__class__=NONE), BUILD),
    "BUILD on a list": pickled(LIST, dict_(append=NONE), BUILD),
    "BUILD on a class": pickled(name("argparse", "Namespace"), dict_(x=NONE), BUILD),
    "BUILD twice": pickled(
        name("argparse", "Namespace"), EMPTY_TUPLE, NEWOBJ, dict_(x=TRUE), BUILD, dict_(x=FALSE), BUILD
    ),
    "BUILD on an OrderedDict with slots": pickled(call("collections", "OrderedDict"), b"NN\x86", BUILD),
    "calls a tensor's rebuilder with a class": pickled(
        call("torch._utils", "_rebuild_tensor_v2", name("argparse", "Namespace"), NONE, NONE, NONE, NONE, NONE)
    ),
    "calls a number": pickled(number(1), EMPTY_TUPLE, REDUCE),
    "calls with a list": pickled(name("collections", "OrderedDict"), LIST, REDUCE),
    "name from numbers": pickled(number(1), number(2), b"\x93"),
    "dotted name under an allowed module": pickled(name("training.networks", "os.system")),
    "numpy's own loader": pickled(call("numpy", "load", text("x.npy"))),
    "torch.load": pickled(call("torch", "load", text("x.pt"))),
    "torch.hub": pickled(call("torch.hub", "load", text("x"), text("y"))),
    "storage class that is none": zipped(
        pickled(storage_id("0", 1, kind=name("torch", "EvilStorage")), protocol=2), {"0": bytes(4)}
    ),
    "copyreg._reconstructor": pickled(
        call("copyreg", "_reconstructor", name("argparse", "Namespace"), name("builtins", "object"), NONE)
    ),
    "ctypes": pickled(name("ctypes", "CDLL"), tuple_(NONE), NEWOBJ),
    "EXT1": pickled(b"\x82\x01"),
    "EXT4": pickled(b"\x84" + struct.pack("<I", 77)),
    "NEWOBJ_EX": pickled(name("argparse", "Namespace"), EMPTY_TUPLE, DICT, b"\x92"),
    "out-of-band buffer": pickled(b"\x97", protocol=5),
    "DUP": pickled(LIST, b"2" * 1000, APPEND * 1000),
    "unknown opcode": pickled(b"\xff"),
    "protocol 9": b"\x80\x09N.",
    "persistent id in a plain pickle": pickled(storage_id("0", 4)),
    "persistent id of another kind": zipped(pickled(tuple_(text("module"), NONE, NONE, NONE, NONE), b"Q"), {}),
    "text persistent id": b"\x80\x02P../../etc/passwd\n.",
    "storage key with a path": zipped(pickled(storage_id("../../etc/passwd", 4), protocol=2), {}),
    "memo: huge place": pickled(NONE, b"r" + struct.pack("<I", 2**32 - 1)),
    "memo: place written twice": pickled(NONE, b"q\x00", TRUE, b"q\x00"),
    "memo: never remembered": pickled(b"h\x05"),
    "memo: of nothing": pickled(MEMOIZE),
    "list within itself": pickled(LIST, MEMOIZE, b"h\x00", APPEND),
    "dict within itself": pickled(DICT, MEMOIZE, text("x"), b"h\x00", SETITEM),
    "object within itself": pickled(
        name("argparse", "Namespace"), EMPTY_TUPLE, NEWOBJ, MEMOIZE, DICT, text("x"), b"h\x00", SETITEM, BUILD
    ),
    "empty stack": pickled(POP),
    "no mark": pickled(b"e"),
    "mark across": pickled(NONE, MARK, POP),
    "stack left over": pickled(NONE, NONE),
    "mark left over": pickled(NONE, MARK),
    "key without value": pickled(DICT, MARK, NONE, b"u"),
    "unhashable key": pickled(DICT, LIST, NONE, SETITEM),
    "slow hash": slow_hash(),
    "same hashes": same_hashes(),
    "deep lists": pickled(nested(200_000)),
    "deep tuples": pickled(EMPTY_TUPLE, b"\x85" * 200_000),
    "million marks": pickled(MARK * 600_000),
    "million sets": pickled(MARK, b"\x8f" * 600_000, b"l"),
    "billion laughs, then a call": billion_laughs()[:-1] + SYSTEM + STOP,
    "BINBYTES8 of 2^60": pickled(b"\x8e" + struct.pack("<Q", 2**60)),
    "BINUNICODE8 of 2^60": pickled(b"\x8d" + struct.pack("<Q", 2**60)),
    "BYTEARRAY8 of 2^60": pickled(b"\x96" + struct.pack("<Q", 2**60), protocol=5),
    "BINBYTES of 2^32": pickled(b"B\xff\xff\xff\xff"),
    "FRAME of 2^62": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "number of 2^31 digits": pickled(b"\x8b" + struct.pack("<i", 2**31 - 1)),
    "text that is not UTF-8": pickled(b"X\x02\x00\x00\x00\xff\xfe"),
    "endless name": b"\x80\x02c" + b"a" * 100_000,
    "object array": pickled(array(OBJECT, (1,), bytes(8))),
    "dtype with fields": pickled(
        call("numpy", "dtype", text("V8"), FALSE, TRUE),
        tuple_(number(3), text("|"), NONE, tuple_(text("x")), dict_(x=NONE), number(8), number(1), number(0)), BUILD,
    ),
    "dtype by expression": pickled(call("numpy", "dtype", text("f4,O"), FALSE, TRUE)),
    "array of another class": pickled(
        call("numpy.core.multiarray", "_reconstruct", name("argparse", "Namespace"), tuple_(number(0)), blob(b"b"))
    ),
    "array larger than its bytes": pickled(array(F4, (2**20, 2**20), bytes(16))),
    "array of negative shape": pickled(array(F4, (-4, -1), bytes(16))),
    "array of many dimensions": pickled(array(F4, (1,) * 4000, bytes(4))),
    "array without numbers": pickled(
        call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), tuple_(number(0)), blob(b"b"))
    ),
    "scalar of another length": pickled(call("numpy.core.multiarray", "scalar", F4, blob(bytes(400)))),
    "tensor past its storage": one_tensor(0, (5,), (1,)),
    "tensor from far outside": one_tensor(2**40, (1,), (1,)),
    "tensor from before its storage": one_tensor(-4, (4,), (1,)),
    "tensor with a negative stride": one_tensor(3, (4,), (-1,)),
    "tensor with a long stride": one_tensor(0, (2,), (2**30,)),
    "tensor swollen by stride 0": one_tensor(0, (2**20, 2**20), (0, 0)),
    "tensor of many dimensions": one_tensor(0, (1,) * 1000, (1,) * 1000),
    "tensor of bool sizes": zipped(
        pickled(call("torch._utils", "_rebuild_tensor_v2", storage_id("0", 4), number(0), tuple_(TRUE), tuple_(TRUE),
                     FALSE, NONE)), {"0": bytes(16)},
    ),
    "storage longer than its entry": one_tensor(0, (1,), (1,), count=2**50),
    "storage shorter than its entry": one_tensor(0, (1,), (1,), count=1),
    "storage of negative length": one_tensor(0, (1,), (1,), count=-1),
    "storage missing": zipped(pickled(storage_id("7", 4), protocol=2), {}),
    "storage in two forms": zipped(
        pickled(storage_id("0", 4), POP, storage_id("0", 4, kind=name("torch", "IntStorage")), protocol=2),
        {"0": bytes(16)},
    ),
    "one storage handed out without end": zipped(
        pickled(LIST, MARK, *[tensor(storage_id("0", 2**18), 0, (2**18,), (1,))] * 400, b"e", protocol=2),
        {"0": bytes(2**20)},
    ),
    "zip bomb": zipped(pickled(storage_id("0", 2**26), protocol=2), {"0": bytes(2**28)}, zipfile.ZIP_DEFLATED),
    "zip with ..": zip_named("x/../../evil"),
    "zip with an absolute name": zip_named("/etc/cron.d/evil"),
    "zip with a drive": zip_named("C:\\evil"),
    "zip with two data.pkl": zip_named("y/data.pkl"),
    "zip without data.pkl": zipped(pickled(NONE), {}).replace(b"data.pkl", b"date.pkl"),
    "encrypted zip": encrypted_zip(),
    "zip that lies about its size": zip_that_lies(2**31),
    "zip of a big-endian machine": zipped(pickled(NONE), {}, byteorder=b"big"),
    "zip cut in half": (lambda data: data[: len(data) // 2])(zipped(pickled(NONE), {"0": bytes(1000)})),
    "call inside a torch zip": zipped(pickled(SYSTEM, protocol=2), {}),
    "payload: call inside": pickled(payload(legacy(pickled(SYSTEM, protocol=2), [], b""))),
    "payload: no storage": pickled(payload(legacy(pickled(NONE, protocol=2), [], b""))),
    "payload: within a payload": pickled(payload(legacy(pickled(payload(b""), protocol=2), [], b""))),
    "payload: a zip": pickled(payload(zipped(GOOD_STORAGE, {"0": bytes(16)}))),
    "payload: 2^40 numbers": pickled(payload(legacy(pickled(storage_id("0", 2**40, NONE)), ["0"], b""))),
    "payload: numbers missing": pickled(payload(legacy(GOOD_STORAGE, ["0"], struct.pack("<q", 4)))),
    "payload: other storages listed": pickled(payload(legacy(GOOD_STORAGE, ["1"], struct.pack("<q", 4) + bytes(16)))),
    "payload: other length": pickled(payload(legacy(GOOD_STORAGE, ["0"], struct.pack("<q", 2**40) + bytes(16)))),
    "payload: big-endian": pickled(payload(legacy(GOOD_STORAGE, ["0"], struct.pack("<q", 4) + bytes(16), FALSE))),
    "payload: a view": pickled(
        payload(legacy(pickled(storage_id("0", 4, tuple_(text("1"), number(0), number(4)))), ["0"], b""))
    ),
    "payload: read again and again": pickled(
        blob(legacy(GOOD_STORAGE, ["0"], struct.pack("<q", 4) + bytes(16)) + b""), MEMOIZE, POP, LIST,
        name("torch.storage", "_load_from_bytes"), MEMOIZE, POP,
        *[b"h\x01h\x00\x85R" + APPEND] * 40_000,
    ),
    "arrays where texts belong: bytes": pickled(call("_codecs", "encode", text("x"), array(F4, (2,), bytes(8)))),
    "arrays where texts belong: storage": zipped(
        pickled(tuple_(array(F4, (2,), bytes(8)), NONE, NONE, NONE, NONE), b"Q", protocol=2), {}
    ),
    "arrays where texts belong: view": pickled(
        payload(legacy(pickled(storage_id("0", 4, array(F4, (2,), bytes(8)))), ["0"], b""))
    ),
    "arrays where texts belong: number format": pickled(
        call("numpy", "dtype", array(F4, (2,), bytes(8)), FALSE, TRUE)
    ),
    "arrays where texts belong: byte order": pickled(
        call("numpy", "dtype", text("f4"), FALSE, TRUE),
        tuple_(number(3), array(F4, (2,), bytes(8)), NONE, NONE, NONE, number(-1), number(-1), number(0)), BUILD,
    ),
    "arrays where texts belong: class": pickled(
        call("numpy.core.multiarray", "_reconstruct", array(F4, (2,), bytes(8)), NONE, NONE)
    ),
    "bytes follow the end": pickled(NONE) + pickled(SYSTEM),
    "not a pickle": b"GIF89a" + bytes(100),
    "empty": b"",
    "a script": f"#!/bin/sh\n{TOUCH}\n".encode(),
}  # fmt: skip

HOSTILE: dict[str, bytes] = {**{f"live: {key}": value for key, value in LIVE.items()}, **HARMFUL}

# Well-formed, so they are read; what lies in them must stay asleep.
ASLEEP: dict[str, bytes] = {
    "embedded module_src": pickled(_module_src()),
    "state with the names of methods": pickled(
        name("argparse", "Namespace"), EMPTY_TUPLE, NEWOBJ, dict_(__setstate__=text(TOUCH), __class__=NONE), BUILD
    ),
    "billion laughs": billion_laughs(),
}
