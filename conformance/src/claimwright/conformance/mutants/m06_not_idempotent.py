"""6: a repeated Prepare fails, or answers with another CDI id."""

from __future__ import annotations

from collections import Counter

from claimwright.conformance.mutants.mutation import Call, Mutant, Mutation


class _Repeated:
    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def count(self, call: Call) -> list[tuple[str, int]]:
        """Return the claims of a Prepare that came before, and how often; a release forgets them."""
        uids = [claim.uid for claim in call.request.claims] if call.method.startswith("Node") else []
        if call.method == "NodeUnprepareResources":
            for uid in uids:
                self._times.pop(uid, None)
            return []
        self._times.update(uid for uid in uids if not call.reply.claims[uid].error)
        return [(uid, self._times[uid]) for uid in uids if self._times[uid] > 1]


class _Fails(_Repeated):
    def __call__(self, call: Call) -> None:
        for uid, _ in self.count(call):
            del call.reply.claims[uid].devices[:]
            call.reply.claims[uid].error = "already prepared"


class _Renames(_Repeated):
    def __call__(self, call: Call) -> None:
        for uid, times in self.count(call):
            for device in call.reply.claims[uid].devices:
                device.cdi_device_ids[:] = [f"{one}-{times}" for one in device.cdi_device_ids]


MUTANTS = (
    Mutant("6a", "fails when a claim is prepared again", Mutation(reply=_Fails())),
    Mutant("6b", "gives a new CDI id each time", Mutation(reply=_Renames())),
)
