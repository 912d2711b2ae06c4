"""The algebra of verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.conformance.outcomes import Judgement, Level, Outcome, Verdict, badness, judge

JUDGEMENTS = st.lists(st.builds(Judgement, st.sampled_from(Level), st.sampled_from(Outcome)), max_size=12)
MUST_PASS = Judgement(Level.MUST, Outcome.PASS)


@given(JUDGEMENTS, st.sampled_from(Level), st.booleans())
def test_adding_a_skip_never_improves_a_verdict(judgements, level, strict):
    before = judge(judgements, strict=strict)
    after = judge([*judgements, Judgement(level, Outcome.SKIPPED)], strict=strict)
    assert badness(after) >= badness(before)


@given(JUDGEMENTS, st.data())
def test_turning_a_pass_into_a_skip_never_improves_a_verdict(judgements, data):
    judgements = [*judgements, MUST_PASS]
    place = data.draw(st.sampled_from([i for i, one in enumerate(judgements) if one.outcome is Outcome.PASS]))
    changed = [
        Judgement(one.level, Outcome.SKIPPED) if i == place else one for i, one in enumerate(judgements)
    ]
    assert badness(judge(changed)) >= badness(judge(judgements))


@given(JUDGEMENTS)
def test_strict_never_improves_a_verdict(judgements):
    assert badness(judge(judgements, strict=True)) >= badness(judge(judgements))


@given(JUDGEMENTS)
def test_order_does_not_matter(judgements):
    assert judge(judgements) is judge(judgements[::-1])


def test_nothing_at_all_proves_nothing():
    assert judge([]) is Verdict.PARTIAL


def test_only_unsupported_proves_nothing():
    assert judge([Judgement(Level.MUST, Outcome.UNSUPPORTED)]) is Verdict.PARTIAL


@pytest.mark.parametrize(
    ("level", "outcome", "strict", "verdict"),
    [
        (Level.MUST, Outcome.FAIL, False, Verdict.FAILURE),
        (Level.SHOULD, Outcome.FAIL, False, Verdict.SUCCESS),
        (Level.SHOULD, Outcome.FAIL, True, Verdict.FAILURE),
        (Level.MAY, Outcome.FAIL, True, Verdict.SUCCESS),
        (Level.MAY, Outcome.ERROR, False, Verdict.ERROR),
        (Level.MUST, Outcome.INCONCLUSIVE, False, Verdict.PARTIAL),
        (Level.MUST, Outcome.SKIPPED, False, Verdict.PARTIAL),
        (Level.MUST, Outcome.NOT_APPLICABLE, False, Verdict.SUCCESS),
    ],
)
def test_one_outcome_beside_a_pass(level, outcome, strict, verdict):
    assert judge([MUST_PASS, Judgement(level, outcome)], strict=strict) is verdict


def test_a_proven_failure_outranks_an_error():
    assert (
        judge([Judgement(Level.MUST, Outcome.FAIL), Judgement(Level.MUST, Outcome.ERROR)]) is Verdict.FAILURE
    )
