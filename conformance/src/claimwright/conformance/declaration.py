"""`driver.yaml`: all that the suite knows about the driver under test.

Unknown keys are errors, and each error names file and line, the field, the value and what is allowed. Vendor
knowledge lives here and nowhere else: the checks read these values only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from claimwright.conformance.errors import UsageError
from claimwright.conformance.yaml_lines import Lines, read_yaml

API_VERSION: Final = "claimwright.dev/v1alpha1"
_BRACES: Final = re.compile(r"\{\{|\{(?P<name>[^{}]*)\}|\}\}|\{")
PLACEHOLDERS: Final = ("kubeconfig", "node", "registry", "plugins", "cdi", "work", "python")

Feature = Literal[
    "adminAccess", "bindingConditions", "consumableCapacity", "deviceMetadata", "deviceTaints", "extendedResource",
    "health", "mps", "networkDevices", "nodeAllocatable", "opaqueConfig", "partitionable", "prioritizedList",
    "sharedClaim", "timeSlicing", "vfio",
]  # fmt: skip
DriverName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)]
Positive = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Metadata(_Strict):
    """Who made the driver; copied into the report."""

    name: str
    organization: str = ""
    version: str = ""
    url: str = ""
    contact: tuple[str, ...] = ()


class Features(_Strict):
    """Optional behaviour, declared; checks of undeclared features end as `unsupported`."""

    supported: tuple[Feature, ...] = ()
    unsupported: tuple[Feature, ...] = ()

    @model_validator(mode="after")
    def _disjoint(self) -> Features:
        both = set(self.supported) & set(self.unsupported)
        if both:
            raise ValueError(f"{', '.join(sorted(both))}: declared as supported and as unsupported")
        return self


class DeviceIdentity(_Strict):
    """The attribute whose value tells one physical device from another."""

    attribute: str


class Allocation(_Strict):
    """Which published devices the suite may allocate when it acts as the scheduler."""

    match: dict[str, bool | int | str] = {}
    pool: str | None = None


class ConfigSample(_Strict):
    """Opaque parameters to put into a claim; `names` is what the driver's refusal should mention."""

    name: str
    parameters: dict[str, Any]
    names: str | None = None


class Configs(_Strict):
    """Opaque configuration that the driver accepts and that it refuses."""

    valid: tuple[ConfigSample, ...] = ()
    invalid: tuple[ConfigSample, ...] = ()


class NodePaths(_Strict):
    """Globs of device nodes: `data` belongs to one device, `control` may be given with every device."""

    data: tuple[str, ...] = ()
    control: tuple[str, ...] = ()


class Start(_Strict):
    """How the suite starts the driver; `{placeholders}` are filled in each word and variable."""

    command: tuple[str, ...] = Field(min_length=1)
    env: dict[str, str] = {}


class PathMapping(_Strict):
    """A folder as the driver names it, and the same folder as the suite reaches it."""

    inside: Path
    outside: Path


class Running(_Strict):
    """A driver that already runs: where its node's folders are."""

    node: str
    registry: Path
    plugins: Path
    cdi: Path
    path_map: tuple[PathMapping, ...] = Field(default=(), alias="pathMap")
    restart: tuple[str, ...] = ()


class Budgets(_Strict):
    """Seconds within which a conformant driver acts; exceeding one fails the requirement."""

    start_s: Positive = 20
    publish_s: Positive = 20
    prepare_s: Positive = 45
    stop_s: Positive = 15


class Spec(_Strict):
    """The driver under test."""

    driver: DriverName
    hardware: Literal["emulated", "real"]
    rpc: tuple[Literal["v1", "v1beta1"], ...] = Field(default=("v1",), min_length=1)
    features: Features = Features()
    identity: DeviceIdentity | None = Field(default=None, alias="deviceIdentity")
    allocation: Allocation = Allocation()
    configs: Configs = Configs()
    node_paths: NodePaths = Field(default=NodePaths(), alias="nodePaths")
    start: Start | None = None
    running: Running | None = None
    budgets: Budgets = Budgets()

    @model_validator(mode="after")
    def _one_way_in(self) -> Spec:
        if (self.start is None) == (self.running is None):
            raise ValueError(
                "give exactly one of `start` (a command) and `running` (folders of a live driver)"
            )
        if "opaqueConfig" in self.features.supported and not (self.configs.valid and self.configs.invalid):
            raise ValueError(
                "feature opaqueConfig needs at least one sample in configs.valid and configs.invalid"
            )
        return self


class Declaration(_Strict):
    """A whole `driver.yaml`."""

    api_version: Literal["claimwright.dev/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["DriverUnderTest"]
    metadata: Metadata
    spec: Spec

    def supports(self, feature: str) -> bool:
        """Tell whether the driver declares an optional behaviour (`v1beta1` counts as one)."""
        return feature in self.spec.features.supported or feature in self.spec.rpc


def load_declaration(path: Path) -> Declaration:
    """Read and check a declaration; every problem is listed with its line."""
    content, lines = read_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(
            f"{path}:1: a declaration is a mapping with {', '.join(_keys_at(()))}; this file holds "
            f"{'nothing' if content is None else type(content).__name__}: "
            "`claimwright conformance init` prints one to start from"
        )
    try:
        declaration = Declaration.model_validate(content)
    except ValidationError as error:
        raise UsageError("\n".join(_explain(path, lines, problem) for problem in error.errors())) from None
    _check_placeholders(path, lines, declaration.spec.start)
    return declaration


def _explain(path: Path, lines: Lines, problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    location: tuple[str | int, ...] = problem["loc"]
    field = ".".join(str(part) for part in location) or "(whole file)"
    if problem["type"] == "extra_forbidden":
        message = f"unknown key; allowed here: {', '.join(_keys_at(location[:-1]))}"
    elif problem["type"] == "missing":
        message = "this field is required"
    else:
        message = f"{problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"
        message = (
            problem["msg"].removeprefix("Value error, ") if isinstance(problem["input"], dict) else message
        )
    return f"{path}:{lines.of(location)}: {field}: {message}"


def _keys_at(location: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the model at `location` knows, as they are written in the file."""
    model: Any = Declaration
    for part in location:
        if isinstance(part, int) or not hasattr(model, "model_fields"):
            continue
        model = next(
            (_model_of(f.annotation) for n, f in model.model_fields.items() if part in (n, f.alias)), None
        )
    return [field.alias or name for name, field in getattr(model, "model_fields", {}).items()]


def _model_of(annotation: Any) -> Any:  # noqa: ANN401 - walks typing's objects
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_of(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)


def _check_placeholders(path: Path, lines: Lines, start: Start | None) -> None:
    if start is None:
        return
    for key, words in (("command", start.command), ("env", tuple(start.env.values()))):
        for word in words:
            try:
                fill(word, dict.fromkeys(PLACEHOLDERS, ""), environment=None)
            except UsageError as error:
                raise UsageError(
                    f"{path}:{lines.of(('spec', 'start', key))}: spec.start.{key}: {error}"
                ) from None


def fill(template: str, values: dict[str, str], *, environment: dict[str, str] | None) -> str:
    """Fill `{placeholders}` and `{env:NAME}` in one word; with `environment` None, only check the names."""

    def one(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found["name"] is None:
            raise UsageError(f"{template!r}: a brace is not closed; write {{{{ for a plain one")
        return _value_of(found["name"], values, environment, template)

    return _BRACES.sub(one, template)


def _value_of(name: str, values: dict[str, str], environment: dict[str, str] | None, template: str) -> str:
    if name.startswith("env:"):
        if environment is None:
            return ""
        if name[4:] not in environment:
            raise UsageError(f"{template!r}: the environment variable {name[4:]} is not set")
        return environment[name[4:]]
    if name not in values:
        allowed = ", ".join(f"{{{known}}}" for known in (*PLACEHOLDERS, "env:NAME"))
        raise UsageError(f"{template!r}: {{{name}}} is no placeholder; allowed: {allowed}")
    return values[name]
