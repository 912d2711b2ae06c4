"""The one mutable owner of a node's state; every change goes through it and every face hears of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from claimwright.emulator.model.bus import binding, mdev_life
from claimwright.emulator.model.change import Change, GpuEvent
from claimwright.emulator.model.replacing import replaced
from claimwright.emulator.model.state import NodeState
from claimwright.emulator.model.vgpu.orphans import without_orphans

P = ParamSpec("P")
T = TypeVar("T")
Subscriber = Callable[[NodeState], None]
Listener = Callable[[GpuEvent], None]


class NodeModel:
    """Holds one NodeState and changes it by operations.

    Thread-safe with one lock. Subscribers run under that lock, in the order they came and in the order of
    changes, before the operation returns: once a call returns, every face shows its effect. A subscriber must
    not block.
    """

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._lock = threading.RLock()
        self._subscribers: list[Subscriber] = []
        self._listeners: list[Listener] = []

    def snapshot(self) -> NodeState:
        """Return the present state."""
        return self._state

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` now and after each change; the returned function ends that (idempotent)."""
        with self._lock:
            subscriber(self._state)
            self._subscribers.append(subscriber)
        return lambda: self._leave(self._subscribers, subscriber)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` for each event, after the state that it comes with; the returned function ends that."""
        with self._lock:
            self._listeners.append(listener)
        return lambda: self._leave(self._listeners, listener)

    def perform(
        self, operation: Callable[Concatenate[NodeState, P], Change[T]], *arguments: P.args, **named: P.kwargs
    ) -> T:
        """Apply a pure operation (see model.operations) and return its value; OperationRefused changes nothing."""
        with self._lock:
            change = operation(self._state, *arguments, **named)
            if change.state is not self._state:
                settled = mdev_life.settled(binding.settled(change.state))
                self._publish(mdev_life.matched(without_orphans(settled)))
            for event in change.events:
                for listener in tuple(self._listeners):
                    listener(event)
            return change.value

    def _publish(self, state: NodeState) -> None:
        """Store a state and tell every subscriber; one that fails does not keep the others from hearing."""
        self._state = replaced(state, revision=self._state.revision + 1)
        failures: list[Exception] = []
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(self._state)
            except Exception as error:  # noqa: BLE001 - re-raised below, together
                failures.append(error)
        if failures:
            raise ExceptionGroup(
                f"{len(failures)} faces of node {state.name!r} could not follow a change", failures
            )

    def _leave(self, members: list[T], member: T) -> None:
        with self._lock:
            if member in members:
                members.remove(member)
