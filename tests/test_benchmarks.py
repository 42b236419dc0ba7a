"""The pure parts of the benchmarks: medians, targets, the report. Nothing is measured here."""

import math
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks import against, counts, generation, names, profiling, report, words
from benchmarks.__main__ import exit_status
from benchmarks.commits import Version, check_out, known_commit
from benchmarks.contestants import ROOT
from benchmarks.ledger_rows import COLUMNS, DAYS, Year, row_of
from benchmarks.measuring import cpu_seconds, family, median, percentile, resident_mb
from benchmarks.pictures import png
from benchmarks.results import Measurement, Profile, Results
from benchmarks.store import known
from benchmarks.targets import COUNTS, TARGETS, Target, evaluate
from pixyproxy.core.images import Picture
from pixyproxy.service.generating.pictures import examine

FACTS: dict[str, Any] = {
    "date": "2026-11-24 12:00 UTC",
    "parts": {"content": {"date": "2026-11-24 12:00 UTC", "commit": "0123abc", "rounds": 3}},
    "quick": False,
    "full": True,
    "machine": {"CPU": "a CPU", "cores": "2"},
    "versions": {"Python": "3.11.2", "LiteLLM": "1.0"},
    "unknown settings": ["PIXYPROXY_CACHE_TTL"],
    "nginx": "proxy_buffering on",
}


def measured(part: str, case: str, contestant: str, figure: str, *values: float) -> list[Measurement]:
    """A round a value."""
    return [
        Measurement(part, case, contestant, number, {figure: value}) for number, value in enumerate(values, start=1)
    ]


def small() -> Results:
    """Results with a target that was reached, one that was missed, and many that were not measured."""
    results = Results(facts=dict(FACTS), failures={"lists": "OSError: the disk is full"})
    for case in names.content_cases("1.5 MB"):
        results.measurements += measured("content", case, names.NGINX, "cpu_ms", 1.0, 1.1, 0.9)
        results.measurements += measured("content", case, names.UNCACHED, "cpu_ms", 2.0, 2.2, 1.8)
        results.measurements += measured("content", case, names.DIRECT, "requests_per_s", 600, 500, 700)
        results.measurements += measured("content", case, names.CACHED, "requests_per_s", 1500, 1250, 1750)
    results.profiles.append(
        Profile("content", "1.5 MB, 16 connections", names.UNCACHED, [("serve (web/content)", 30, 90)])
    )
    return results


def target_of(part: str, contestant: str, figure: str, beside: str) -> Target:
    """The target of the ratio of these for pictures of 1.5 MB."""
    (found,) = [
        target
        for target in TARGETS
        if (target.part, target.contestant, target.figure, target.beside) == (part, contestant, figure, beside)
        and "1.5 MB" in target.what
    ]
    return found


def test_median_and_percentile() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
    assert percentile(list(range(1, 101)), 99) == 99
    assert percentile([5], 50) == 5
    assert percentile([1, 2], 99) == 2
    assert math.isnan(median([]))
    assert math.isnan(percentile([], 50))


def test_a_process_has_memory_and_time() -> None:
    assert family(os.getpid())[0] == os.getpid()
    assert cpu_seconds(os.getpid()) > 0
    assert resident_mb([os.getpid()]) > 1


def test_a_reached_target_is_the_median_of_the_ratios_of_the_rounds() -> None:
    verdict = evaluate(target_of("content", names.CACHED, "requests_per_s", names.DIRECT), small())
    assert verdict.value == 2.5
    assert verdict.reached is True
    assert verdict.missed_by == ""


def test_a_missed_target_says_by_how_much() -> None:
    verdict = evaluate(target_of("content", names.UNCACHED, "cpu_ms", names.NGINX), small())
    assert verdict.value == 2
    assert verdict.reached is False
    assert verdict.missed_by == "33% of the bound"


def test_the_worst_case_counts() -> None:
    results = small()
    case = names.content_cases("1.5 MB")[1]
    results.measurements = [
        each for each in results.measurements if (each.case, each.contestant) != (case, names.CACHED)
    ]
    results.measurements += measured("content", case, names.CACHED, "requests_per_s", 600, 600, 600)
    verdict = evaluate(target_of("content", names.CACHED, "requests_per_s", names.DIRECT), results)
    assert (verdict.case, verdict.value, verdict.reached) == (case, 1, False)


def test_a_case_that_was_not_measured_leaves_a_target_open() -> None:
    results = small()
    case = names.content_cases("1.5 MB")[1]
    results.measurements = [each for each in results.measurements if each.case != case]
    assert evaluate(target_of("content", names.CACHED, "requests_per_s", names.DIRECT), results).reached is None


def test_a_case_that_missed_counts_whatever_was_not_measured() -> None:
    results = small()
    case = names.content_cases("1.5 MB")[1]
    results.measurements = [each for each in results.measurements if each.case != case]
    verdict = evaluate(target_of("content", names.UNCACHED, "cpu_ms", names.NGINX), results)
    assert (verdict.case, verdict.reached) == (names.content_cases("1.5 MB")[0], False)


def test_an_exact_target_must_hold_in_every_round() -> None:
    (target,) = [target for target in TARGETS if target.what == "second GET: S3 requests"]
    right, wrong = (
        Results(measurements=measured("counts", "second GET", names.CACHED, "s3_requests", *values))
        for values in ((0, 0, 0), (0, 1, 0))
    )
    assert evaluate(target, right).reached is True
    assert evaluate(target, wrong).reached is False
    assert evaluate(target, wrong).missed_by == "1"


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    results = small()
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results
    Results().save(tmp_path / "empty.json")
    assert Results.load(tmp_path / "empty.json") == Results()


def test_a_later_run_replaces_its_own_parts_alone() -> None:
    before = small()
    before.measurements += measured("lists", names.FIRST_PAGE, names.OURS, "cpu_ms", 4.0)
    later = {"date": "2026-12-01 04:00 UTC", "commit": "4567def", "rounds": 5}
    run = Results(facts={**FACTS, "parts": {"lists": later}})
    run.measurements += measured("lists", names.FIRST_PAGE, names.OURS, "cpu_ms", 1.0)
    both = before.followed_by(run)
    assert both.median("lists", names.FIRST_PAGE, names.OURS, "cpu_ms") == 1
    assert both.profiles == before.profiles
    assert not both.failures, "that of the lists is past"
    assert both.facts["parts"] == {**FACTS["parts"], "lists": later}
    text = report.report(both)
    assert "Measured on 2026-11-24 12:00 UTC, commit 0123abc, 3 rounds." in text
    assert "Measured on 2026-12-01 04:00 UTC, commit 4567def, 5 rounds." in text


def test_the_report_has_every_target_the_failures_the_notes_and_the_profiles() -> None:
    text = report.report(
        small(), notes="# Notes\n\n## content\n\nThe floor of Python.\n\n## lists\n\nSomething else.\n"
    )
    for target in TARGETS:
        assert f"| {words.TITLES[target.part]}: {target.what} |" in text
    assert "| ≤ 1.50 × | 2 × | 1.5 MB, 16 connections | **missed** by 33% of the bound |" in text
    assert "| ≥ 2 × | 2.50 × | 1.5 MB, 16 connections | reached |" in text
    assert "* lists: OSError: the disk is full" in text
    assert "The floor of Python." in text
    assert "`serve (web/content)`" in text
    assert "does not know `PIXYPROXY_CACHE_TTL`" in text
    assert "nan" not in text


def test_a_part_that_fails_fails_the_run_and_a_missed_target_does_not() -> None:
    results = small()
    assert exit_status(results, drawn=True) == 1
    results.failures.clear()
    assert any(evaluate(target, results).reached is False for target in TARGETS)
    assert exit_status(results, drawn=True) == 0
    assert exit_status(results, drawn=False) == 1


def test_a_quick_run_says_that_it_means_nothing() -> None:
    results = small()
    results.facts |= {"quick": True, "full": False}
    assert "no figure here means anything" in report.report(results)


def test_every_part_has_a_title_words_and_tables() -> None:
    assert set(words.TITLES) == set(words.WORDS) == set(report.TABLES) == {target.part for target in TARGETS}


@pytest.mark.parametrize(
    ("value", "said"), [(math.nan, "–"), (0, "0"), (0.5512, "0.55"), (12.34, "12.3"), (1234.5, "1,234"), (2, "2")]
)
def test_figures_have_three_digits(value: float, said: str) -> None:
    assert report.number(value) == said


def test_a_general_log_is_counted_by_statements_that_are_about_images() -> None:
    log = (
        "261124  6:40:28\t    12 Query\tSET GLOBAL general_log = ON\n"
        "\t\t    13 Query\tSELECT guid\n            FROM images\n            WHERE guid = 'x'\n"
        "\t\t    13 Query\tROLLBACK\n"
        "261124  6:40:29\t    14 Query\tDELETE FROM parked_images WHERE id = 1\n"
        "\t\t    14 Query\tSELECT 1 FROM images\n"
    )
    assert counts.about_images(log) == 2


def test_every_count_has_a_target() -> None:
    assert {target.cases[0] for target in TARGETS if target.part == "counts"} == set(COUNTS)


def test_a_profile_counts_samples_by_function_without_waiting_threads() -> None:
    stacks = (
        "main (app.py:1);serve (web.py:10) 6",
        "main (app.py:1);serve (web.py:12) 2",
        "main (app.py:3) 2",
        "main (app.py:9);Condition.wait (threading.py:327) 5",
    )
    rows = profiling.table(stacks)
    assert rows == [("serve (web.py)", 80, 80), ("main (app.py)", 20, 100)]


def test_arrivals_are_spread_so_that_so_many_run_at_once() -> None:
    moments = generation.arrivals(200, 20.0)
    assert len(moments) == 250
    assert moments[0] == 0
    assert sum(10 < moment <= 30 for moment in moments) < 200
    assert sum(4 < moment <= 24 for moment in moments) == 200


@pytest.mark.parametrize("size", [2000, 51_200, 1_572_864])
def test_pictures_have_their_exact_size_and_are_pictures(size: int) -> None:
    facts = examine(Picture.of(png(size, seed=1)))
    assert (facts.size_bytes, facts.content_type) == (size, "image/png")
    assert png(size, seed=1) != png(size, seed=2)


def test_settings_that_pixyproxy_does_not_know_are_left_out() -> None:
    given = {"PIXYPROXY_MAX_GENERATIONS": "3", "PIXYPROXY_OF_TOMORROW": "1", "OPENAI_API_KEY": "x"}
    assert known(given) == {"PIXYPROXY_MAX_GENERATIONS": "3", "OPENAI_API_KEY": "x"}


def test_a_year_of_generations_ends_now_and_every_day_has_equally_many() -> None:
    for hour in (0, 9, 23):
        year = Year(DAYS * 10 - 3, datetime(2028, 3, 1, hour, 0, 1, tzinfo=UTC))
        moments = [year.moment(number) for number in range(year.rows)]
        assert moments == sorted(set(moments))
        assert moments[0].date() == year.first == year.now.date() - timedelta(days=365)
        assert moments[-1] < year.now
        for day in range(DAYS):
            assert sum(each.date() == year.first + timedelta(days=day) for each in moments) == (10 if day < 365 else 7)
    assert len(row_of(year, 5)) == len(COLUMNS)


def test_turns_alternate_and_neither_is_always_first() -> None:
    first, second = against.turns(1, 4), against.turns(2, 4)
    assert first == first[::-1] and first[0] == second[1] == names.BASE
    assert sorted(first) == sorted(second) == [*[names.OURS] * 4, *[names.BASE] * 4]


def test_the_package_of_a_commit_is_written_and_another_one_is_noticed(tmp_path: Path) -> None:
    assert known_commit("no-such-commit") is None
    if (head := known_commit("HEAD")) is None:
        pytest.skip("this is no clone")
    check_out(head, tmp_path / "there")
    assert (tmp_path / "there" / "pixyproxy" / "cli" / "main.py").exists()
    there = Version(tmp_path / "there")
    there.prepare(tmp_path, {"PYTHONPATH": str(there.package)}, ["unheard-of command"])
    with pytest.raises(RuntimeError, match="runs, and not"):
        there.prepare(tmp_path, {"PYTHONPATH": str(ROOT)}, [])
    with pytest.raises(RuntimeError, match="prices check"):
        there.prepare(tmp_path, {"PYTHONPATH": str(there.package)}, ["prices check"])


def test_a_commit_beside_its_base_is_reported_with_the_difference() -> None:
    results = Results(facts={**FACTS, "base": "abc1234"})
    case = names.drawn_over(names.SQLITE)
    results.measurements += measured("against", case, names.BASE, "cpu_ms", 12.0, 14.0, 13.0)
    results.measurements += measured("against", case, names.OURS, "cpu_ms", 13.5, 14.5, 13.75)
    results.measurements += measured("against", case, names.OURS, "added_cpu_ms", 1.5, 0.5, 0.75)
    text = report.report(results)
    assert "the same at the commit abc1234" in text
    assert f"| {case}, {names.BASE} | 13 | – |" in text
    assert f"| {case}, {names.OURS} | 13.8 | 0.75 |" in text
    (target,) = [each for each in TARGETS if (each.part, each.figure) == ("against", "added_cpu_ms")]
    assert evaluate(target, results).reached is None, "it was not measured over MariaDB"
