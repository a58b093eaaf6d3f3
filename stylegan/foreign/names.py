"""The only names that a file may use, and what each stands for here; nothing of it is the file's own code."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import Tensor

from stylegan.foreign.numbers import array_of, format_of, rebuild_tensor, scalar_of
from stylegan.foreign.records import Budget, Name, Opaque, PendingArray, Storage, UnreadableFile, clip, is_text

DICTS = {("collections", "OrderedDict"), ("dnnlib.util", "EasyDict"), ("dnnlib", "EasyDict")}
NDARRAY = Name("numpy", "ndarray")

# Classes whose objects become `Opaque` records.
CLASSES = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"),  # every object of NVIDIA's torch projects
    ("dnnlib.tflib.network", "Network"),  # NVIDIA's TensorFlow projects
    ("argparse", "Namespace"),  # rosinality keeps the command line
    ("torch.nn.modules.container", "ModuleList"),
    ("torch.nn.modules.container", "ParameterList"),
    ("torch.nn.modules.conv", "Conv2d"),
    ("torch.nn.modules.linear", "Linear"),
    ("torch", "device"),
}
# R3GAN pickles its modules as plain objects; a record is inert whatever its class is called.
CLASS_MODULES = {"training.networks", "R3GAN.Networks", "R3GAN.FusedOperators", "R3GAN.Resamplers"}
# Names that are kept as names: number formats, storage classes (see numbers.STORAGES), numpy's array class.
DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "uint8", "contiguous_format")
PLAIN = {*(("torch", name) for name in DTYPES), ("numpy", "ndarray")}


def is_key(value: Any) -> bool:
    """Whether a value may be a key: tuples and huge numbers could be made to hash for ever, or all alike."""
    return type(value) in (str, bytes, bool, type(None)) or (type(value) is int and abs(value) < 2**60)


def is_class(name: Name) -> bool:
    """Whether objects of the class may stand in a file, as records."""
    return (name.module, name.name) in CLASSES or (name.module in CLASS_MODULES and "." not in name.name)


def known(name: Name) -> Name:
    """The name itself; UnreadableFile when no checkpoint needs it."""
    pair = (name.module, name.name)
    storage = name.module == "torch" and name.name.endswith("Storage")  # which, is checked where it is used
    if pair in CALLS or pair in DICTS or pair in PLAIN or storage or is_class(name):
        return name
    raise UnreadableFile(f"asks for {clip(name)}, which no checkpoint needs: refused, nothing of it was run")


class Context:
    """What the functions of CALLS may use: the file's budget, and the reader of payloads within payloads."""

    def __init__(self, budget: Budget, nested: Callable[[memoryview, Budget], Any] | None) -> None:
        self.budget = budget
        self.nested = nested


def _arguments(what: str, args: tuple[Any, ...], least: int, most: int) -> None:
    if not least <= len(args) <= most:
        raise UnreadableFile(f"{what} is given {len(args)} values, expected {least} to {most}")


def _dict(context: Context, *args: Any) -> OrderedDict[Any, Any]:
    _arguments("a dictionary", args, 0, 0)
    return OrderedDict()


def _set(context: Context, *args: Any) -> set[Any]:
    _arguments("a set", args, 0, 1)
    values = args[0] if args else []
    if not isinstance(values, list) or not all(is_key(value) for value in values):
        raise UnreadableFile(f"a set is made from {clip(values)}, expected a list of texts and numbers")
    context.budget.spend(64 * len(values), "a set")
    return set(values)


def _tensor(context: Context, *args: Any) -> Tensor:
    _arguments("a tensor", args, 4, 7)
    return rebuild_tensor(context.budget, *args[:4])


def _parameter(context: Context, *args: Any) -> Tensor:
    _arguments("a parameter", args, 1, 3)
    if not isinstance(args[0], Tensor):
        raise UnreadableFile(f"a parameter is made from {clip(args[0])}, expected a tensor")
    return args[0]


def _payload(context: Context, *args: Any) -> Storage:
    _arguments("a storage's payload", args, 1, 1)
    if not isinstance(args[0], (bytes, bytearray)):
        raise UnreadableFile(f"a storage's payload is {clip(args[0])}, expected bytes")
    if context.nested is None:
        raise UnreadableFile("a storage's payload where none belongs: only plain pickles hold them")
    context.budget.spend(len(args[0]), "a payload")
    storage = context.nested(memoryview(args[0]), context.budget)
    if not isinstance(storage, Storage):
        raise UnreadableFile(f"a storage's payload holds {clip(storage)}, expected a storage")
    return storage


def _size(context: Context, *args: Any) -> tuple[Any, ...]:
    _arguments("a torch.Size", args, 1, 1)
    if not isinstance(args[0], tuple):
        raise UnreadableFile(f"a torch.Size is made from {clip(args[0])}")
    return args[0]


def _dtype(context: Context, *args: Any) -> Any:
    _arguments("a numpy dtype", args, 1, 3)
    return format_of(args[0])


def _scalar(context: Context, *args: Any) -> Any:
    _arguments("a numpy scalar", args, 2, 2)
    return scalar_of(*args)


def _pending(context: Context, *args: Any) -> PendingArray:
    _arguments("a numpy array", args, 3, 3)
    if not isinstance(args[0], Name) or args[0] != NDARRAY:
        raise UnreadableFile(f"a numpy array of the class {clip(args[0])}, expected numpy.ndarray")
    return PendingArray()


def _buffer(context: Context, *args: Any) -> Any:
    _arguments("a numpy array", args, 4, 4)
    return array_of(context.budget, *args)


def _latin1(context: Context, *args: Any) -> bytes:
    """Bytes as protocol 2 spells them."""
    _arguments("bytes", args, 2, 2)
    if not isinstance(args[0], str) or not is_text(args[1], "latin1"):
        raise UnreadableFile(f"bytes are spelled as {clip(args[0])} in {clip(args[1])}, expected latin1")
    context.budget.spend(len(args[0]), "bytes")
    try:
        return args[0].encode("latin1")
    except UnicodeEncodeError as error:
        raise UnreadableFile("bytes are spelled with characters that are no bytes") from error


Call = Callable[..., Any]
CALLS: dict[tuple[str, str], Call] = {
    **dict.fromkeys(DICTS, _dict),
    **dict.fromkeys((("builtins", "set"), ("__builtin__", "set")), _set),
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _payload,
    ("torch", "Size"): _size,
    ("numpy", "dtype"): _dtype,
    **dict.fromkeys(((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")), _scalar),
    **dict.fromkeys(((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")), _pending),
    **dict.fromkeys(((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")), _buffer),
    ("_codecs", "encode"): _latin1,
}


def call(context: Context, name: Any, args: Any) -> Any:
    """What our function or record of a name makes of the arguments."""
    if not isinstance(name, Name) or not isinstance(args, tuple):
        raise UnreadableFile(f"calls {clip(name)} with {clip(args)}, expected a known name and a tuple")
    function = CALLS.get((name.module, name.name))
    if function is not None:
        return function(context, *args)
    if is_class(name):
        return Opaque(name.module, name.name, args)
    raise UnreadableFile(f"calls {name}, which is no class of a checkpoint: refused, nothing of it was run")
