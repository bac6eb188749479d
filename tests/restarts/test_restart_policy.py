"""What a policy says of an end: docker's rules, without a container."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry_protocol.container_state import ExitStatus
from wherry_protocol.errors import BadRequest, Conflict
from wherry_protocol.restarts import NO_RESTART, RestartPolicy, parse_policy
from wherry_protocol.run_spec import RunSpec
from wherryd.containers import restart_policy
from wherryd.containers.restart_policy import (
    FIRST_DELAY,
    JITTER,
    LONGEST_DELAY,
    STABLE_RUN,
    UNTRIED,
    Tries,
    after_end,
    at_start,
    with_jitter,
)
from wherryd.containers.restart_state import RestartState

GOOD, BAD, UNKNOWN = ExitStatus(code=0), ExitStatus(code=3), ExitStatus(error="lost")
ALWAYS, UNLESS, ON_FAILURE = map(parse_policy, ("always", "unless-stopped", "on-failure"))


@pytest.mark.parametrize(
    ("policy", "status", "again"),
    [
        (NO_RESTART, BAD, False), (ALWAYS, GOOD, True), (ALWAYS, BAD, True), (UNLESS, GOOD, True),
        (ON_FAILURE, GOOD, False), (ON_FAILURE, BAD, True), (ON_FAILURE, ExitStatus(signal=9), True),
        (ON_FAILURE, UNKNOWN, True), (ON_FAILURE, None, True),
    ],
)  # fmt: skip
def test_which_ends_are_followed_by_a_start(
    policy: RestartPolicy, status: ExitStatus | None, again: bool
) -> None:
    failure = restart_policy.failed(status)
    assert (after_end(policy, UNTRIED, failure=failure, lasted=1) is not None) is again
    assert at_start(policy, UNTRIED, status, stopped=False) is again


@pytest.mark.parametrize(
    ("policy", "comes"), [(NO_RESTART, False), (ALWAYS, True), (UNLESS, False), (ON_FAILURE, False)]
)
def test_what_somebody_stopped_comes_back_with_the_machine_only_if_always(
    policy: RestartPolicy, comes: bool
) -> None:
    assert at_start(policy, UNTRIED, BAD, stopped=True) is comes


def test_retries_are_counted_and_run_out() -> None:
    three, tries = parse_policy("on-failure:3"), UNTRIED
    for count in (1, 2, 3):
        following = after_end(three, tries, failure=True, lasted=0)
        assert following is not None
        tries = following
        assert tries.count == count
    assert after_end(three, tries, failure=True, lasted=0) is None
    assert after_end(three, tries, failure=True, lasted=STABLE_RUN) is None, "docker's count is of all tries"
    assert not at_start(three, tries, BAD, stopped=False)
    assert at_start(ON_FAILURE, tries, BAD, stopped=False)
    assert restart_policy.still(three, tries, BAD)
    assert not restart_policy.still(parse_policy("on-failure:2"), tries, BAD)
    assert not restart_policy.still(ON_FAILURE, tries, GOOD)


def test_delays_double_up_to_a_minute_and_begin_anew_after_a_stable_run() -> None:
    tries, delays = UNTRIED, []
    for _ in range(12):
        following = after_end(ALWAYS, tries, failure=True, lasted=STABLE_RUN - 0.1)
        assert following is not None
        tries = following
        delays.append(tries.delay)
    assert delays == [min(FIRST_DELAY * 2**n, LONGEST_DELAY) for n in range(12)]
    calm = after_end(ALWAYS, tries, failure=True, lasted=STABLE_RUN)
    assert calm == Tries(count=13, delay=FIRST_DELAY)


@given(st.floats(0, LONGEST_DELAY), st.floats(0, 1))
def test_jitter_makes_a_delay_shorter_by_a_tenth_at_most(delay: float, chance: float) -> None:
    assert delay * (1 - JITTER) - 1e-9 <= with_jitter(delay, chance) <= delay


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sometimes", "restart policy 'sometimes' is unknown"), ("", "restart policy '' is unknown"),
        ("Always", "'Always' is unknown"), ("on-failure:-1", "'-1' is no number of retries"),
        ("on-failure:", "'' is no number of retries"), ("on-failure:x", "'x' is no number of retries"),
        ("on-failure:1:2", "'1:2' is no number"), ("on-failure:٣", "no number of retries"),
        ("always:3", "only on-failure has a number"), ("no:1", "only on-failure has a number"),
        ("unless-stopped:0", "only on-failure has a number"), ("on-failure:" + "9" * 20, "no number"),
    ],
)  # fmt: skip
def test_a_malformed_policy_is_named(text: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_policy(text)
    assert says in str(caught.value)


def test_policies_are_read_and_written_in_dockers_words() -> None:
    assert parse_policy("no") is NO_RESTART
    for text in ("always", "unless-stopped", "on-failure", "on-failure:7"):
        assert str(parse_policy(text)) == text
    assert parse_policy("on-failure:0") == ON_FAILURE


def test_a_policy_that_cannot_be_is_refused_whoever_sends_it() -> None:
    """The command line is not the only client."""
    for restart in (
        RestartPolicy(name="on-failure", max_retries=-1),
        RestartPolicy(name="always", max_retries=1),
    ):
        with pytest.raises(BadRequest):
            restart_policy.check(RunSpec(image="i", restart=restart))
    with pytest.raises(BadRequest, match="--rm"):
        restart_policy.check(RunSpec(image="i", restart=ALWAYS, auto_remove=True))
    restart_policy.check(RunSpec(image="i", auto_remove=True))
    with pytest.raises(Conflict, match="container web is removed when it has ended"):
        restart_policy.check_change("web", RunSpec(image="i", auto_remove=True), ALWAYS)


def test_what_is_on_record_is_what_was() -> None:
    state, again = RestartState(), RestartState()
    assert state.to_json() == {}
    state.wait(Tries(count=4, delay=0.8), 30)
    state.stopped, state.error = True, "no room"
    again.restore(state.to_json())
    assert (again.tries, again.stopped, again.error) == (state.tries, True, "no room")
    assert 29 < again.left <= 30
    state.clear()
    assert state.to_json() == {}
