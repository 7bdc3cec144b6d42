"""Arbitrary protobuf messages: most of them nearly right, so that deep code is reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Vocabulary:
    """Values that mean something, by the name of the field.

    Before it counts `outer.name`, of a field in a field `outer` or in a request of that name.

    Attributes:
        right: Which go together, as far as can be.
        odd: Which look right.
    """

    right: Mapping[str, Sequence[Any]]
    odd: Mapping[str, Sequence[Any]]


_DEPTH = 6
_MANY = 1001
_BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_NUMBERS = (0.0, 0.5, 1.5, -0.0, -1.0, math.nan, math.inf, -math.inf, 1e308, 5e-324)
_TEXTS = (
    "",
    "a",
    "\0",
    "é" * 64,
    "\U0001f9e0",
    "..",
    "../x",
    "a/b",
    "'; --",
    "%s{}\\",
    "x" * 20_000,
)
_any_text = st.sampled_from(_TEXTS) | st.text(max_size=8)
# How many fields of sixteen are odd: in half of all messages none.
_oddness = st.sampled_from((0, 0, 0, 1, 1, 4))


@cache
def _number(below: int) -> st.SearchStrategy[int]:
    """Numbers from 0, each as often as the others: a wider range would favour some, by chance."""
    return st.integers(0, below - 1)


def messages(
    descriptor: Descriptor, vocabularies: Sequence[Vocabulary]
) -> st.SearchStrategy[Message]:
    """Messages of one kind, each in the words of one vocabulary."""

    @st.composite
    def build(draw: Draw) -> Message:
        message: Message = GetMessageClass(descriptor)()
        words = vocabularies[draw(_number(len(vocabularies)))]
        _Filling(draw, words, draw(_oddness)).fill(message, descriptor.name, depth=0)
        return message

    return build()


@dataclass(frozen=True)
class _Filling:
    draw: Draw
    words: Vocabulary
    oddness: int

    def fill(self, message: Any, outer: str, *, depth: int) -> None:
        for field in message.DESCRIPTOR.fields:
            if depth >= _DEPTH or self.is_odd():
                continue
            inner = getattr(message, field.name)
            if field.is_repeated:
                self._fill_repeated(inner, field, outer, depth=depth)
            elif field.message_type is not None:
                inner.SetInParent()
                self.fill(inner, field.name, depth=depth + 1)
            else:
                setattr(message, field.name, self._value(field, outer))

    def is_odd(self) -> bool:
        return bool(self.oddness) and self.pick(16) < self.oddness

    def pick(self, below: int) -> int:
        number: int = self.draw(_number(below))
        return number

    def _fill_repeated(self, items: Any, field: FieldDescriptor, outer: str, *, depth: int) -> None:
        if self.words.right.get(field.name) == [] and not self.is_odd():
            return
        for _ in range((1, 1, 1, 2, 2, 3)[self.pick(6)]):
            if field.message_type is not None:
                self.fill(items.add(), field.name, depth=depth + 1)
            else:
                items.append(self._value(field, outer))
        if items and self.is_odd():
            items.extend([items[0]] * _MANY)

    def _value(self, field: FieldDescriptor, outer: str) -> Any:
        if not self.is_odd():
            return self._one_of(self._known(self.words.right, field, outer) or _plain(field))
        known = self._known(self.words.odd, field, outer)
        if known and self.pick(2):
            return self._one_of(known)
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            text: str = self.draw(_any_text)
            return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        return self._one_of(_strange(field))

    def _known(
        self, words: Mapping[str, Sequence[Any]], field: FieldDescriptor, outer: str
    ) -> Sequence[Any]:
        return words.get(f"{outer}.{field.name}") or words.get(field.name) or ()

    def _one_of(self, values: Sequence[Any]) -> Any:
        return values[self.pick(len(values))]


def _plain(field: FieldDescriptor) -> Sequence[Any]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return ("", "a") if field.type == FieldDescriptor.TYPE_STRING else (b"", b"a")
    if field.enum_type is not None:
        return [value.number for value in field.enum_type.values]
    return (False, True) if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else (0, 1, 2)


def _strange(field: FieldDescriptor) -> Sequence[Any]:
    if field.enum_type is not None:
        return (99, -1, 0)
    if field.cpp_type in _BOUNDS:
        least, most = _BOUNDS[field.cpp_type]
        return (least, most, most - 1, max(-1, least))
    return (False, True) if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else _NUMBERS
