"""Frozen values whose fields are checked when they are read, and cost next to nothing to declare.

A class body is written as a dataclass's, with the rules of its fields as annotations (`rules`). Constructing one
in code checks its names; reading one (`model_validate`) checks everything, with pydantic, which is not imported
before that.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from typing import Any, ClassVar, Self, dataclass_transform

REQUIRED = object()
"""Instead of a default: the field must be given."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
class Checked:
    """Base of values that are read from text; unknown keys are refused, and with `strict` other types too."""

    strict: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, object]] = {}
    """Each field in order, with its default, REQUIRED, or a dataclasses.Field that makes one."""

    def __init_subclass__(cls, **named: Any) -> None:  # noqa: ANN401 - handed on
        super().__init_subclass__(**named)
        own = inspect.get_annotations(cls)
        fields = [name for name, said in own.items() if not said.startswith("ClassVar")]
        cls.defaults = {**cls.defaults, **{name: cls.__dict__.get(name, REQUIRED) for name in fields}}

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - the fields, typed for callers by the class body
        if unknown := given.keys() - self.defaults.keys():
            raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        values = {name: given[name] if name in given else self._default(name) for name in self.defaults}
        self.__dict__.update(values)

    @classmethod
    def _default(cls, name: str) -> object:
        default = cls.defaults[name]
        if default is REQUIRED:
            raise TypeError(f"{cls.__name__} needs {name}")
        if isinstance(default, dataclasses.Field):
            assert default.default_factory is not dataclasses.MISSING
            return default.default_factory()
        return default

    @classmethod
    def model_validate(cls, given: object) -> Self:
        """Read from Python values; pydantic's ValidationError lists what is wrong."""
        from claimwright.emulator.model import checking  # noqa: PLC0415 - loads pydantic

        return checking.read(cls, given)

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Self:
        """Read from JSON; pydantic's ValidationError lists what is wrong."""
        from claimwright.emulator.model import checking  # noqa: PLC0415 - loads pydantic

        return checking.read_json(cls, text)

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        """Return the JSON schema of what can be read."""
        from claimwright.emulator.model import checking  # noqa: PLC0415 - loads pydantic

        return checking.model_of(cls).model_json_schema()

    def model_dump(self, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's
        """Return the fields as plain data, by pydantic's options."""
        from claimwright.emulator.model import checking  # noqa: PLC0415 - loads pydantic

        return checking.as_model(self).model_dump(**options)

    def model_dump_json(self) -> str:
        """Return the fields as JSON."""
        from claimwright.emulator.model import checking  # noqa: PLC0415 - loads pydantic

        return checking.as_model(self).model_dump_json()

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """Return the value with other fields, which are not checked."""
        return type(self)(**{**self.values(), **update})

    def values(self) -> dict[str, Any]:
        """Return the fields in order."""
        return {name: self.__dict__[name] for name in self.defaults}

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: Any) -> Any:  # noqa: ANN401 - pydantic's
        from claimwright.emulator.model import checking  # noqa: PLC0415 - pydantic is loaded: it calls this

        return checking.schema_of(cls, handler)

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        return self.values()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self is other or self.values() == other.values()

    def __hash__(self) -> int:
        return hash((type(self), *self.values().values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.values().items())
        return f"{type(self).__name__}({shown})"
