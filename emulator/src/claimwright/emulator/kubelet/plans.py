"""How long a container of the stand-in runs and how it ends: read from annotations of the pod.

No program runs, so the pod says what its program would do:

- `claimwright.dev/run-seconds: "5"`: regular containers end after 5 s (default: they run until deleted);
- `claimwright.dev/exit-code: "1"`: with this code (default 0);
- `claimwright.dev/stop-seconds: "3"`: how long they take to stop when asked (default 0);
- the same with `.CONTAINER` behind, for one container, init containers and sidecars included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from claimwright.emulator.kubelet.errors import PodRejected
from claimwright.emulator.kubelet.pods import ContainerKind, ContainerSpec, Pod

PREFIX = "claimwright.dev/"
RUN_SECONDS = PREFIX + "run-seconds"
EXIT_CODE = PREFIX + "exit-code"
STOP_SECONDS = PREFIX + "stop-seconds"


@dataclass(frozen=True)
class ContainerPlan:
    """What the container's program would do; `run_seconds` None means until it is stopped."""

    run_seconds: float | None
    exit_code: int = 0
    stop_seconds: float = 0.0


def plan_containers(pod: Pod) -> Mapping[str, ContainerPlan]:
    """Read the plan of every container of the pod; a malformed annotation raises `PodRejected`."""
    return {container.name: _plan(pod, container) for container in pod.containers}


def _plan(pod: Pod, container: ContainerSpec) -> ContainerPlan:
    # An init container has to end for the pod to go on, so without a word about it, it ends at once.
    default_run = 0.0 if container.kind is ContainerKind.INIT else None
    run = _number(pod, container, RUN_SECONDS)
    code = _number(pod, container, EXIT_CODE)
    stop = _number(pod, container, STOP_SECONDS)
    return ContainerPlan(
        run_seconds=default_run if run is None else run,
        exit_code=_exit_code(pod, code),
        stop_seconds=stop or 0.0,
    )


def _number(pod: Pod, container: ContainerSpec, key: str) -> float | None:
    own = f"{key}.{container.name}"
    chosen = own if own in pod.annotations or container.kind is not ContainerKind.REGULAR else key
    text = pod.annotations.get(chosen)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        message = f"annotation {chosen} of pod {pod.reference} is {text!r}: expected a number of zero or more"
        raise PodRejected("InvalidAnnotation", message)
    return value


def _exit_code(pod: Pod, code: float | None) -> int:
    if code is None:
        return 0
    if code != int(code) or code > 255:
        message = (
            f"annotation {EXIT_CODE} of pod {pod.reference} is {code:g}: expected a whole number, 0 to 255"
        )
        raise PodRejected("InvalidAnnotation", message)
    return int(code)
