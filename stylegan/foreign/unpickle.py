"""Reads pickles without running anything of them: a small machine for the opcodes that checkpoints need.

Python's own unpickler imports what a file names and calls it. This one imports nothing: a name is a record, and only
the names in names.py may stand in a file at all. Every other name, opcode, argument and size is refused with the byte
where it stands. The opcodes are described in Python's pickletools; protocols 2 to 5 are read, as far as needed.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from stylegan.foreign.names import Context, call, is_key, known
from stylegan.foreign.numbers import array_of, set_order
from stylegan.foreign.records import Format, Name, Opaque, PendingArray, UnreadableFile, clip

MAX_DEPTH = 200  # of containers within containers; NVIDIA's deepest snapshots have some 40
MAX_NAME, MAX_STRING = 200, 2**24

REFUSED = {
    ord(code): name
    for code, name in {
        "I": "INT", "L": "LONG", "F": "FLOAT", "S": "STRING", "V": "UNICODE", "T": "BINSTRING",
        "U": "SHORT_BINSTRING", "P": "PERSID", "i": "INST", "o": "OBJ", "g": "GET", "p": "PUT", "d": "DICT",
        "l": "LIST", "2": "DUP", "\x82": "EXT1", "\x83": "EXT2", "\x84": "EXT4", "\x8b": "LONG4",
        "\x91": "FROZENSET", "\x92": "NEWOBJ_EX", "\x97": "NEXT_BUFFER", "\x98": "READONLY_BUFFER",
    }.items()
}  # fmt: skip


class Machine:
    """One pickle: a stack, marks on it, and a memo."""

    def __init__(self, data: memoryview, start: int, context: Context, load: Callable[[Any], Any] | None) -> None:
        self.data = data
        self.position = start
        self.context = context
        self.load = load  # what a persistent id stands for; None where there may be none
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value of the pickle; self.position is then behind it."""
        try:
            return self.value()
        except UnreadableFile as error:
            raise UnreadableFile(f"byte {self.position:,}: {error}") from error

    def value(self) -> Any:
        """Obey the opcodes up to STOP."""
        if self.byte() != 0x80 or not 2 <= self.byte() <= 5:
            raise UnreadableFile("does not begin as a pickle of protocol 2 to 5")
        while True:
            self.context.budget.step()
            code = self.byte()
            if code == ord("."):
                break
            if code not in OPCODES:
                raise UnreadableFile(f"opcode {REFUSED.get(code, hex(code))}: no checkpoint needs it")
            OPCODES[code](self)
        value = self.pop()
        if self.stack or self.marks:
            raise UnreadableFile("values are left on the stack at the end")
        check_tree(value)
        return value

    # Reading

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        if count > len(self.data) - self.position:
            raise UnreadableFile(f"{count:,} bytes are announced, {len(self.data) - self.position:,} are left")
        self.position += count
        return self.data[self.position - count : self.position]

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def number(self, size: int, signed: bool = False) -> int:
        """The next little-endian whole number."""
        return int.from_bytes(self.take(size), "little", signed=signed)

    def text(self, count: int) -> str:
        """The next bytes as text."""
        if count > MAX_STRING:
            raise UnreadableFile(f"a text of {count:,} bytes is announced, at most {MAX_STRING:,} are read")
        try:
            return str(self.take(count), "utf-8")
        except UnicodeDecodeError as error:
            raise UnreadableFile("a text is not UTF-8") from error

    def line(self) -> str:
        """The next bytes up to a line's end as a name."""
        found = bytes(self.data[self.position : self.position + MAX_NAME + 1]).find(b"\n")
        if found < 0:
            raise UnreadableFile(f"a name is longer than {MAX_NAME} bytes or cut short")
        text = self.text(found)
        self.take(1)
        return text

    # Stack and memo

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the last value; never across a mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise UnreadableFile("takes a value from an empty stack")
        return self.stack.pop()

    def top(self, kind: type | tuple[type, ...], what: str) -> Any:
        """The last value, which must be of a kind, and stays."""
        value = self.pop()
        self.push(value)
        if not isinstance(value, kind):
            raise UnreadableFile(f"{what} {clip(value)}")
        return value

    def since_mark(self) -> list[Any]:
        """The values since the last mark, taken off with it."""
        if not self.marks:
            raise UnreadableFile("takes values from a mark that was never set")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def remember(self, place: int) -> None:
        """Give the last value a number in the memo. Writers count on, so a number far ahead is a trick."""
        if place > len(self.memo) + 1 or place in self.memo:
            raise UnreadableFile(f"memo place {place} is taken or far ahead: {len(self.memo)} values were remembered")
        value = self.top(object, "")
        if isinstance(value, PendingArray):
            value.place = place
        self.memo[place] = value

    def recall(self, place: int) -> None:
        """Put a remembered value on the stack again."""
        if place not in self.memo:
            raise UnreadableFile(f"asks for memo place {place}, where nothing was remembered")
        self.push(self.memo[place])

    # What the opcodes do

    def name(self, module: Any, name: Any) -> None:
        """Put a known name on the stack, as a record."""
        if not isinstance(module, str) or not isinstance(name, str) or max(len(module), len(name)) > MAX_NAME:
            raise UnreadableFile(f"a name is {clip(module)} and {clip(name)}, expected two short texts")
        self.push(known(Name(module, name)))

    def stack_name(self) -> None:
        """A name whose two parts lie on the stack."""
        name = self.pop()
        self.name(self.pop(), name)

    def call(self) -> None:
        """REDUCE and NEWOBJ: make what a known name stands for from a tuple."""
        args = self.pop()
        self.push(call(self.context, self.pop(), args))

    def build(self) -> None:
        """BUILD: give an object its state. Nothing of the object's class is asked, `__setstate__` least of all."""
        state = self.pop()
        target = self.pop()
        if isinstance(target, PendingArray):
            target_place, target = target.place, self.array(state)
            if target_place is not None:
                self.memo[target_place] = target
        elif isinstance(target, Format):
            set_order(target, state)
        elif isinstance(target, Opaque) and target.state is None:
            target.state = state
        elif (
            not isinstance(target, OrderedDict) or type(state) is not dict
        ):  # there it is torch's _metadata: not needed
            raise UnreadableFile(f"gives {clip(target)} the state {clip(state)}: no checkpoint needs it")
        self.push(target)

    def array(self, state: Any) -> Any:
        """A numpy array from its state: version, shape, number format, whether columns come first, bytes."""
        if not isinstance(state, tuple) or len(state) != 5 or type(state[3]) not in (bool, int):
            raise UnreadableFile(f"an array has the state {clip(state)}")
        _, shape, form, fortran, data = state
        return array_of(self.context.budget, data, form, shape, "F" if fortran else "C")

    def persistent(self) -> None:
        """BINPERSID: what a persistent id stands for."""
        if self.load is None:
            raise UnreadableFile("a persistent id where the file has no storages")
        self.push(self.load(self.pop()))

    def append(self, values: list[Any]) -> None:
        """Put values at the end of the list on top."""
        self.top(list, "appends to").extend(values)

    def set_items(self, values: list[Any]) -> None:
        """Put keys and values, in turn, into the dictionary on top."""
        target = self.top(dict, "sets an item of")
        if len(values) % 2:
            raise UnreadableFile("a dictionary is given a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not is_key(key):
                raise UnreadableFile(f"a dictionary has the key {clip(key)}, expected a text or a number")
            target[key] = value

    def add_items(self, values: list[Any]) -> None:
        """Put plain values into the set on top."""
        target = self.top(set, "adds to")
        if not all(is_key(value) for value in values):
            raise UnreadableFile("a set holds something else than texts and numbers")
        target.update(values)

    def tuple_of(self, count: int) -> None:
        """A tuple of the last values."""
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))


def _double(machine: Machine) -> None:
    machine.push(struct.unpack(">d", machine.take(8))[0])


def _frame(machine: Machine) -> None:
    length = machine.number(8)  # says how far a file may be read ahead; all is here already
    machine.take(length)
    machine.position -= length


def _set_item(machine: Machine) -> None:
    value = machine.pop()
    machine.set_items([machine.pop(), value])


OPCODES: dict[int, Callable[[Machine], Any]] = {
    0x95: _frame,
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("0"): Machine.pop,
    ord("1"): Machine.since_mark,
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(m.number(4, signed=True)),
    ord("K"): lambda m: m.push(m.number(1)),
    ord("M"): lambda m: m.push(m.number(2)),
    0x8A: lambda m: m.push(m.number(m.byte(), signed=True)),  # LONG1
    ord("G"): _double,
    ord("X"): lambda m: m.push(m.text(m.number(4))),
    0x8C: lambda m: m.push(m.text(m.byte())),
    0x8D: lambda m: m.push(m.text(m.number(8))),
    ord("B"): lambda m: m.push(bytes(m.take(m.number(4)))),
    ord("C"): lambda m: m.push(bytes(m.take(m.byte()))),
    0x8E: lambda m: m.push(bytes(m.take(m.number(8)))),
    0x96: lambda m: m.push(bytes(m.take(m.number(8)))),  # BYTEARRAY8
    ord("}"): lambda m: m.push({}),
    ord("]"): lambda m: m.push([]),
    0x8F: lambda m: m.push(set()),
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.since_mark()),
    ord("s"): _set_item,
    ord("u"): lambda m: m.set_items(m.since_mark()),
    0x90: lambda m: m.add_items(m.since_mark()),
    ord("q"): lambda m: m.remember(m.byte()),
    ord("r"): lambda m: m.remember(m.number(4)),
    0x94: lambda m: m.remember(len(m.memo)),  # MEMOIZE
    ord("h"): lambda m: m.recall(m.byte()),
    ord("j"): lambda m: m.recall(m.number(4)),
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: Machine.stack_name,
    ord("R"): Machine.call,
    0x81: Machine.call,  # NEWOBJ
    ord("b"): Machine.build,
    ord("Q"): Machine.persistent,
}


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, Opaque):
        return [value.args, value.state]
    return []


def check_tree(root: Any) -> None:
    """Raise UnreadableFile if a value contains itself, lies too deep, or was left half-built.

    Each value is looked at once, however often it is shared; nothing here recurses, so nothing runs out of stack.
    """
    heights: dict[int, int] = {}  # 0 while the value is being looked at
    path: list[tuple[Any, list[Any], list[Any]]] = []

    def enter(value: Any) -> None:
        if isinstance(value, PendingArray):
            raise UnreadableFile("a numpy array has no numbers")
        heights[id(value)] = 0
        children = _children(value)
        path.append((value, children, list(children)))

    enter(root)
    while path:
        value, children, left = path[-1]
        if left:
            child = left.pop()
            if heights.get(id(child)) == 0:
                raise UnreadableFile("a value contains itself")
            if id(child) not in heights:
                enter(child)
            continue
        path.pop()
        heights[id(value)] = 1 + max((heights[id(child)] for child in children), default=0)
        if heights[id(value)] > MAX_DEPTH:
            raise UnreadableFile(f"values lie more than {MAX_DEPTH} deep")
