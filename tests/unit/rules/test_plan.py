"""Plans and policy: what may be changed, by whom it must be approved, and the text that it becomes."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest

from rules.adapt.bounds import ByHour, Static
from rules.adapt.git import commit_branch
from rules.adapt.history import Adapted
from rules.adapt.joined import with_series
from rules.adapt.judge import Candidate, Verdict
from rules.adapt.place_file import FilePlace
from rules.adapt.plan import Plan, caught_words, elsewhere, message_of, plan_places
from rules.adapt.policy import allowed, divided, outdated
from rules.adapt.solve import NEVER, Proposal, Unchanged
from rules.adapt.text import rewrite_text
from rules.learn import Segment, Threshold
from rules.read import WrittenRule, read_files
from rules.validate import check
from sidecar.config.adapt import AdaptConfig
from sidecar.config.unattended import UnattendedConfig
from sidecar.errors import RuleError
from sidecar.records import RuleRevision
from sidecar.series import LabelSet

OBJECT = """# Kept in git, applied by a pipeline.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: own
  labels:
    release: kps
spec:
  groups:
    - name: own
      rules:
        - alert: LoadHigh
          expr: load > 5  # a guess
          labels:
            severity: warning
"""
NOW = 1_700_000_000.0


def adapted(rule: WrittenRule, value: float = 6.0, saves: int = 10, *, joined: bool = False) -> Adapted:
    """A rewrite of the rule that saves so many false alarms."""
    before, after = Verdict(saves, saves, 60.0, {}, 28.0), Verdict(0, 0, 0.0, {}, 28.0)
    bound = Static(value)
    expr = rule.expr if joined else bound.rewritten(rule.expr)
    found = Proposal(
        Candidate(bound, 0.0), expr, before, after, saves, 0, (0.0, 1.0), (0.0, 1.0), ("threshold 5 → 6",)
    )
    return Adapted(rule, found, replace(rule, expr=expr), joined=joined)


def rule(name: str, severity: str = "warning") -> WrittenRule:
    return WrittenRule(name, "load > 5", "alerting", "own", labels={"severity": severity})


def git(folder: Path, *arguments: str) -> str:
    own = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", "-C", str(folder), *own, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def place(group: str) -> FilePlace:
    return FilePlace.of(group, needs_reload=False)


def unexpected(group: str, error: RuleError) -> None:
    raise AssertionError(f"{group}: {error}")


def test_one_commit_of_several_files_names_the_rules_of_all(tmp_path: Path) -> None:
    plans = [
        Plan(f"file:{tmp_path}/{file}.yaml", "", "", tuple(adapted(rule(name)) for name in names))
        for file, names in (("a", ["A", "B"]), ("b", ["C", "D"]))
    ]
    message = message_of(plans)
    assert message.splitlines()[0] == "rules: adapt A, B, C and 1 more"
    assert message.count("rules: adapt") == 1
    assert message.index("b.yaml:") < message.index("C: ")


async def test_an_object_in_a_git_tree_becomes_a_branch_with_its_evidence(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(OBJECT)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "add", "own.yaml")
    git(tmp_path, "commit", "--quiet", "-m", "own")
    (found,) = read_files([file])
    (plan,) = await plan_places([adapted(found)], place, on_refused=unexpected)
    assert (await check(plan.after))["promtool"].startswith("SUCCESS")
    assert plan.path == file
    changes = {file: partial(rewrite_text, rewrites=plan.rewrites)}
    half_done = OBJECT + "        - alert: HalfDone\n"
    file.write_text(half_done)
    commit_branch(tmp_path, "pronoia/adapt-1", changes, plan.message())
    assert git(tmp_path, "show", "pronoia/adapt-1:own.yaml") == OBJECT.replace("> 5", "> 6")
    assert "false alarms 10 → 0" in git(tmp_path, "log", "-1", "--format=%B", "pronoia/adapt-1")
    assert file.read_text() == half_done, "what nobody committed is neither touched nor committed"
    git(tmp_path, "commit", "--quiet", "--all", "-m", "half")
    file.write_text(OBJECT)
    git(tmp_path, "rm", "--quiet", "--cached", "own.yaml")
    git(tmp_path, "commit", "--quiet", "-m", "gone")
    with pytest.raises(RuleError, match="commit that first"):
        commit_branch(tmp_path, "pronoia/adapt-2", changes, plan.message())
    assert "adapt-2" not in git(tmp_path, "branch", "--list"), "no branch without a commit"
    assert git(tmp_path, "worktree", "list").count("\n") == 1


def test_hooks_that_look_at_commits_are_heard_and_those_of_a_checkout_are_not(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(OBJECT)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "add", "own.yaml")
    git(tmp_path, "commit", "--quiet", "-m", "own")
    for name, words in (("post-checkout", ""), ("pre-commit", "kubeconform: no such kind")):
        hook = tmp_path / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
        hook.chmod(0o755)
    with pytest.raises(RuleError, match=r"^git commit in .*: kubeconform: no such kind$"):
        commit_branch(tmp_path, "pronoia/adapt-1", {file: lambda text: text + "\n"}, "why")
    assert git(tmp_path, "worktree", "list").count("\n") == 1
    hook.unlink()
    commit_branch(tmp_path, "pronoia/adapt-1", {file: lambda text: text + "\n"}, "why")
    assert git(tmp_path, "log", "-1", "--format=%B", "pronoia/adapt-1").strip() == "why"


async def test_a_rule_that_stands_nowhere_here_is_not_planned_and_that_is_said() -> None:
    """Prometheus in a container names its rule files as that one sees them."""
    found = [adapted(replace(rule(name), file="/etc/prometheus/elsewhere.yaml")) for name in "AB"]
    plans: list[Plan] = await plan_places(found, place, on_refused=unexpected)
    assert plans == []
    (error,) = elsewhere(found)
    assert str(error).startswith("A, B: /etc/prometheus/elsewhere.yaml is where Prometheus loads it from")
    assert elsewhere([adapted(rule("C"), joined=True)]) == []


async def test_a_file_that_cannot_be_rewritten_is_told_of_and_the_others_are_planned(tmp_path: Path) -> None:
    found = []
    for name in ("edited", "gone", "own"):
        (tmp_path / f"{name}.yaml").write_text(OBJECT)
        found += read_files([tmp_path / f"{name}.yaml"])
    (tmp_path / "edited.yaml").write_text(OBJECT.replace("load", "lode"))
    refused: dict[str, str] = {}

    def gone(group: str) -> FilePlace:
        return FilePlace(tmp_path / "not here.yaml") if "gone" in group else place(group)

    plans = await plan_places(
        [adapted(one) for one in found], gone, on_refused=lambda group, why: refused.update({group: str(why)})
    )
    assert [plan.path for plan in plans] == [tmp_path / "own.yaml"]
    assert "is no longer as it was" in refused[f"file:{tmp_path}/edited.yaml"]
    assert "not there any more" in refused[f"file:{tmp_path}/gone.yaml"]


def live(told: dict[str, object], age_seconds: float) -> RuleRevision:
    """A rewrite of pronoia's that has been live so long."""
    evidence: dict[str, object] = {"rules": [told]}
    at_ns = int((NOW - age_seconds) * 1e9)
    return RuleRevision("r", "file:/a", at_ns, "", "h", evidence, {}, "live", live_from_ns=at_ns)


OURS = {"rule": rule("A").key, "after": "load > 5", "form": "static"}


@pytest.mark.parametrize(
    ("revisions", "words"),
    [
        pytest.param([], "", id="never touched"),
        pytest.param([live(OURS, 3600)], "changed a while ago; again in", id="cooling down"),
        pytest.param([live(OURS, 30 * 86_400)], "", id="cooled down"),
        pytest.param([live(OURS | {"after": "load > 4"}, 30 * 86_400)], "edited by hand", id="edited since"),
        pytest.param([live(OURS | {"form": "series"}, 60)], "", id="its join moved nothing"),
    ],
)
def test_what_may_be_changed_now(revisions: list[RuleRevision], words: str) -> None:
    (found,) = allowed([adapted(rule("A"))], revisions, AdaptConfig(), NOW)
    assert found.changed is not bool(words)
    assert words in found.why_not
    assert not words or found.written == found.rule


@pytest.mark.parametrize(
    ("numbers", "again"),
    [((4.0, 9.0), False), ((4.05, 8.98), False), ((4.0, 7.0), True), ((6.0, 9.0), True)],
)
def test_a_table_like_one_that_failed_is_not_proposed_again(
    numbers: tuple[float, float], again: bool
) -> None:
    def table(night: float, day: float) -> ByHour:
        return ByHour(Threshold(LabelSet(), 24, (Segment(0, 8, night), Segment(8, 24, day))))

    ours, refused = rule("A"), table(4.0, 9.0).rewritten("load > 5")
    proposed = adapted(ours)
    assert isinstance(proposed.outcome, Proposal)
    candidate = Candidate(table(*numbers), 0.0)
    expr = candidate.bound.rewritten(ours.expr)
    proposed = replace(
        proposed,
        outcome=replace(proposed.outcome, candidate=candidate, expr=expr),
        written=replace(ours, expr=expr),
    )
    revision = ended("rejected", 0, after=refused, form="by hour")
    (found,) = allowed([proposed], [revision], AdaptConfig(), NOW)
    assert found.changed is again, found.why_not


def test_a_table_that_a_server_prints_in_its_own_way_was_not_edited() -> None:
    table = (
        "on () group_left () (\n  vector(1) and on () (hour() < 8)\n  or vector(2) and on () (hour() >= 8)\n)"
    )
    revisions = [live(OURS | {"after": f"load > {table}"}, 30 * 86_400)]
    for printed, kept in (
        (" ".join(table.split()).replace("( ", "(").replace(" )", ")"), True),
        ("4", False),
    ):
        ours = replace(rule("A"), expr=f"load > {printed}")
        (found,) = allowed([replace(adapted(rule("A")), rule=ours)], revisions, AdaptConfig(), NOW)
        assert found.changed is kept, found.why_not


def ended(state: str, value: float, **changes: object) -> RuleRevision:
    """A rewrite of rule A that is over."""
    told = {"rule": rule("A").key, "before": "load > 5", "after": f"load > {value:g}", "form": "static"}
    told |= {"changes": ["threshold 5 → 6"], **changes}
    at_ns = int((NOW - 30 * 86_400) * 1e9)
    evidence: dict[str, object] = {"rules": [told]}
    return RuleRevision("r", "file:/a", at_ns, "", "f00d", evidence, {}, state, reason="fired 40 times")


@pytest.mark.parametrize(
    ("revision", "again"),
    [
        pytest.param(ended("rolled_back", 6), False, id="taken back"),
        pytest.param(ended("rejected", 6), False, id="failed as a shadow, or refused"),
        pytest.param(ended("rejected", 6.05), False, id="nearly the same number"),
        pytest.param(ended("rejected", 7), True, id="another number"),
        pytest.param(ended("rejected", 6, changes=["for 0s → 5m"]), True, id="another duration"),
        pytest.param(ended("rejected", 6, before="load > 4"), True, id="the rule is another since"),
        pytest.param(ended("rejected", 6, rule="own/B"), True, id="of another rule"),
        pytest.param(ended("superseded", 6), True, id="nothing was wrong with it"),
    ],
)
def test_what_failed_is_not_proposed_again_unchanged(revision: RuleRevision, again: bool) -> None:
    (found,) = allowed([adapted(rule("A"), 6.0)], [revision], AdaptConfig(), NOW)
    assert found.changed is again
    assert again or "fired 40 times" in found.why_not
    assert again or "f00d" in found.why_not


@pytest.mark.parametrize(("value", "again"), [(6.0, False), (8.0, True)])
def test_a_series_that_was_taken_back_is_not_exported_again(value: float, again: bool) -> None:
    expr = with_series("load > 5", "A", rule("A").key)
    joined = replace(rule("A"), expr=expr)
    content = '{"form": "static", "value": 6.0}'
    back = msgspec.structs.replace(ended("rolled_back", 6, before=expr, after=expr), content=content)
    (found,) = allowed([adapted(joined, value, joined=True)], [back], AdaptConfig(), NOW)
    assert found.changed is again


def names(found: list[Adapted]) -> list[str]:
    return [one.rule.name for one in found]


@pytest.mark.parametrize(
    ("settings", "alone", "waiting"),
    [
        pytest.param({"mode": "propose"}, [], ["Worst", "Page", "Mild", "Told"], id="everything waits"),
        pytest.param({"mode": "apply"}, ["Worst", "Mild"], ["Page", "Told"], id="pages wait"),
        pytest.param({"mode": "apply", "max_rewrites": 1}, ["Worst"], ["Page", "Told"], id="the worst first"),
        pytest.param(
            {"mode": "apply", "ask_for": []}, ["Worst", "Page", "Mild"], ["Told"], id="nothing waits"
        ),
    ],
)
def test_policy(settings: dict[str, object], alone: list[str], waiting: list[str]) -> None:
    untouched = Adapted(rule("Fine"), Unchanged("within the budget"), rule("Fine"))
    found = [
        adapted(rule("Mild"), saves=3),
        untouched,
        adapted(rule("Worst"), saves=90),
        adapted(rule("Page", "critical"), saves=20),
        replace(adapted(rule("Told"), saves=1), told="12 starts in an hour"),
    ]
    first, second = divided(found, UnattendedConfig.model_validate(settings))
    assert (names(first), names(second)) == (alone, waiting)


def test_what_would_never_fire_again_waits_for_a_person() -> None:
    never = adapted(rule("Never"), saves=90)
    assert isinstance(never.outcome, Proposal)
    never = replace(never, outcome=replace(never.outcome, changes=("threshold 1 → 0", NEVER)))
    alone, waiting = divided([never], UnattendedConfig(mode="apply"))
    assert (alone, waiting) == ([], [never])


@pytest.mark.parametrize(
    ("by_chance", "words"),
    [
        pytest.param({"mail slow"}, "mail slow: had been told of by chance", id="by chance"),
        pytest.param(set(), "mail slow: given up for fewer false alarms", id="given up"),
    ],
)
def test_an_incident_that_will_not_be_caught_says_why(by_chance: set[str], words: str) -> None:
    before = Verdict(9, 7, 60.0, {"mail slow": 0.0, "seen": 0.0, "night": 0.0}, 28.0, frozenset({"night"}))
    after = Verdict(2, 0, 60.0, {"seen": 0.0, "night": 0.0}, 28.0, frozenset({"night"}))
    outcome = adapted(rule("Load")).outcome
    assert isinstance(outcome, Proposal)
    found = replace(outcome, before=before, after=after, by_chance=frozenset(by_chance))
    told = caught_words(found)
    assert told.startswith("incidents caught 2 → 1; ")
    assert words in told
    assert told.endswith("trouble that nobody told of 1 → 1")


@pytest.mark.parametrize(
    ("why", "judged", "besides", "withdrawn"),
    [
        ("within its budget", True, (), "no longer proposed: within its budget"),
        ("Prometheus: timed out", False, (), ""),
        ("within its budget", True, ("B",), ""),
    ],
    ids=["judged anew", "not read", "another of it is proposed still"],
)
def test_what_waits_is_withdrawn_once_all_of_it_is_judged_to_stay(
    why: str, judged: bool, besides: tuple[str, ...], withdrawn: str
) -> None:
    stays = replace(
        adapted(rule("A")), outcome=Unchanged(why, Verdict(1, 1, 0.0, {}, 28.0) if judged else None)
    )
    found = [stays, *(adapted(rule(name)) for name in besides)]
    told = [{"rule": one.rule.key} for one in found]
    waiting = RuleRevision("1", "file:a", 0, "", "1", {"rules": told}, {}, "proposed")
    assert outdated(waiting, found) == withdrawn
    assert outdated(waiting, []) == "", "not among what was read"
