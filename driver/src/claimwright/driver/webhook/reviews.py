"""Reviews of admission.k8s.io/v1: an object comes in, a verdict that names each bad config goes out."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from claimwright.driver.configs import decode, keep_duplicates
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.quoting import shown
from claimwright.driver.webhook.objects import (
    GROUP,
    PLACES,
    VERSIONS,
    MalformedObject,
    WrittenConfig,
    configs_in,
)

logger = logging.getLogger(__name__)
API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"


class UnreadableReview(ValueError):
    """The body is no AdmissionReview; the message says what is wrong with it."""


@dataclass(frozen=True)
class Complaint:
    """What is wrong with one config."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"object at {self.path} is invalid: {self.text}"


def review(body: bytes, gates: FeatureGates) -> dict[str, Any]:
    """Answer one review; UnreadableReview when `body` is none."""
    request = _request(_parsed(body))
    response = {"uid": request["uid"], **_verdict(request, gates)}
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body, object_pairs_hook=keep_duplicates, parse_constant=_no_constant)
    except RecursionError:
        raise UnreadableReview("the body is nested too deeply") from None
    except ValueError as error:  # no JSON, or no text at all
        raise UnreadableReview(f"the body is no JSON: {error}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _request(found: object) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise UnreadableReview(f"the body is {shown(found)}, expected an {KIND}")
    kind, version = found.get("kind"), found.get("apiVersion")
    if (version, kind) != (API_VERSION, KIND):
        raise UnreadableReview(
            f"the body is {shown(kind)} of {shown(version)}, expected {KIND} of {API_VERSION}"
        )
    request = found.get("request")
    if not isinstance(request, Mapping) or not isinstance(request.get("uid"), str):
        raise UnreadableReview("request.uid is missing, expected the uid to answer with")
    return request


def _verdict(request: Mapping[str, Any], gates: FeatureGates) -> dict[str, Any]:
    try:
        complaints = [
            complaint
            for written in _to_check(request)
            if (complaint := _complaint(written, gates)) is not None
        ]
    except (MalformedObject, RecursionError) as error:
        return _denied("BadRequest", 400, str(error))
    if not complaints:
        return {"allowed": True}
    text = "; ".join(map(str, complaints))
    denial = _denied("Invalid", 422, f"{len(complaints)} configs failed to validate: {text}")
    denial["status"]["details"] = _details(request, complaints)
    logger.info("denied %s: %s", _name(request), denial["status"]["message"])
    return denial


def _to_check(request: Mapping[str, Any]) -> Sequence[WrittenConfig]:
    """Return the configs that this request brings.

    What an update leaves as it was is not judged again: an object that was stored before the webhook came, or under
    other feature gates, must still lose its finalizers.
    """
    plural = _plural(request)
    configs = configs_in(plural, request.get("object"))
    if request.get("operation") != "UPDATE":
        return configs
    before = configs_in(plural, request.get("oldObject"))
    return [written for written in configs if not any(written.same_as(old) for old in before)]


def _plural(request: Mapping[str, Any]) -> str:
    resource = request.get("resource")
    found = resource if isinstance(resource, Mapping) else {}
    group, version, plural = (found.get(name) for name in ("group", "version", "resource"))
    if group != GROUP or version not in VERSIONS or plural not in PLACES:
        raise MalformedObject(
            f"resource is {shown(plural)} of {shown(group)}/{shown(version)}, expected one of {', '.join(PLACES)} "
            f"of {GROUP} {', '.join(VERSIONS)}"
        )
    return str(plural)


def _complaint(written: WrittenConfig, gates: FeatureGates) -> Complaint | None:
    if not isinstance(written.parameters, Mapping):
        return Complaint(
            written.path, f"it is {shown(written.parameters)}, expected an object with apiVersion and kind"
        )
    try:
        decode(written.parameters, driver=written.driver).check(gates)
    except ClaimRefused as error:
        return Complaint(written.path, str(error))
    return None


def _denied(reason: str, code: int, message: str) -> dict[str, Any]:
    return {
        "allowed": False,
        "status": {"status": "Failure", "reason": reason, "code": code, "message": message},
    }


def _details(request: Mapping[str, Any], complaints: Sequence[Complaint]) -> dict[str, Any]:
    """Name the fields as the API server does; kubectl lists them one by one."""
    resource = request["resource"]
    causes = [
        {"reason": "FieldValueInvalid", "field": each.path, "message": each.text} for each in complaints
    ]
    name = request.get("name")
    details = {"group": resource["group"], "kind": resource["resource"], "causes": causes}
    return {**details, "name": name} if isinstance(name, str) and name else details


def _name(request: Mapping[str, Any]) -> str:
    return f"{request['resource']['resource']} {shown(request.get('namespace'))}/{shown(request.get('name'))}"
