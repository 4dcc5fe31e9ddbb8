import numpy as np
import pytest

from iqattack.errors import InputError, RunError
from iqattack.models import wrap
from iqattack.runs import (
    Callbacks,
    How,
    Run,
    execute,
    reached,
    read_traces,
    results_at,
    summary_at,
    traces,
)


@pytest.mark.parametrize("lower_better", [False, True])
def test_a_trace_ends_where_the_result_is(tmp_path, settings, images, lower_better):
    scorer = wrap(
        lambda batch: batch.double().mean((1, 2, 3)),
        name="brightness",
        score_range=(0.0, 255.0),
        lower_better=lower_better,
    )
    with Run.create(tmp_path / "run", settings(), scorer) as run:
        execute(run, images, scorer)
    traces = read_traces(Run.open(tmp_path / "run"))
    assert [trace.image for trace in traces] == [row.image for row in run.results]
    for trace, row in zip(traces, run.results, strict=True):
        assert (trace.direction, len(trace.scores)) == (row.direction, row.queries)
        assert trace.best(row.queries) == (row.score_adv, row.gain, row.queries)
        assert trace.best(1) == (row.score_clean, 0.0, 1)
        assert not np.signbit(trace.gains[0])
        rises = (row.direction == "up") != lower_better
        reach = (255 - row.score_clean if rises else row.score_clean) / 255
        assert trace.reach == pytest.approx(reach)
        assert trace.gains.max() == row.gain


def test_a_smaller_budget_is_what_a_shorter_run_gives(tmp_path, settings, brightness, images):
    """The plain noise attack does not look at its budget, so its first queries are the same."""
    with Run.create(tmp_path / "long", settings(queries=30), brightness) as run:
        execute(run, images, brightness)
    with Run.create(tmp_path / "short", settings(queries=11), brightness) as short:
        execute(short, images, brightness)
    for trace, row in zip(read_traces(run), short.results, strict=True):
        assert trace.best(11) == (row.score_adv, row.gain, row.queries)
    at, expected = summary_at(run, 11), short.summary()
    assert (at.budget, at.settings.queries) == (11, 30)
    scores = [summary.model_dump_json(include={"scores"}) for summary in (at, expected)]
    assert scores[0] == scores[1]
    assert (at.means.queries, at.unchanged) == (11, expected.unchanged)
    assert at.means.linf is at.means.psnr is at.means.ssim is None
    assert summary_at(run, 30).means == run.summary().means
    assert summary_at(run, 1).mean_gain == 0.0
    assert summary_at(run, 1).unchanged == 5


@pytest.mark.parametrize("queries", [0, 13])
def test_budgets_that_the_log_does_not_hold(tmp_path, settings, brightness, images, queries):
    with Run.create(tmp_path / "run", settings(), brightness) as run:
        execute(run, images, brightness)
    reported = (
        rf"queries {queries}: expected 1 to 12, the budget of .*run; a larger budget needs a new"
    )
    with pytest.raises(InputError, match=reported):
        results_at(run, queries)


def test_the_image_that_a_boundary_keeps_is_not_in_the_log(tmp_path, settings, brightness, images):
    with Run.create(tmp_path / "run", settings(objective="rank:0.01"), brightness) as run:
        execute(run, images, brightness)
    with pytest.raises(RunError, match=r"objective rank:0\.01 keeps the least different image"):
        results_at(run, 5)
    assert results_at(run, 12)[:2] == run.state()


def test_an_image_that_failed_stays_failed(tmp_path, settings, brightness, images, photos):
    (photos / "2.png").write_bytes(b"")
    with Run.create(tmp_path / "run", settings(), brightness) as run:
        execute(run, images, brightness)
    results, pending, _ = results_at(run, 4)
    assert (results[2], pending) == (run.results[2], 0)
    assert [row.queries for row in results] == [4, 4, 0, 4, 4]


def test_a_run_under_way_has_the_traces_so_far(tmp_path, settings, brightness, images):
    seen = []

    def look(state):
        if state.spent > 0:
            seen.append([len(t.scores) for t in read_traces(Run.open(tmp_path / "run"))])

    with Run.create(tmp_path / "run", settings(), brightness) as run:
        execute(run, images, brightness, how=How(batch=2), callbacks=Callbacks(progress=look))
    assert seen[0] == []  # no direction before all clean scores are known
    assert any(0 < sum(lengths) < 5 * 12 for lengths in seen)
    assert seen[-1] == [12] * 5


def test_a_run_without_a_log_has_none(tmp_path, settings, brightness):
    Run.create(tmp_path / "run", settings(), brightness).close()
    assert read_traces(Run.open(tmp_path / "run")) == []


def test_many_budgets_come_from_one_pass(tmp_path, settings, brightness, images, monkeypatch):
    """And give what each of them gives alone."""
    with Run.create(tmp_path / "run", settings(queries=30), brightness) as run:
        execute(run, images, brightness)
    passes, each = [], traces.each_trace

    def counted(run):
        passes.append(run)
        return each(run)

    monkeypatch.setattr(traces, "each_trace", counted)
    points = [7, 1, 30, 29, 7]
    found = reached(run, points)
    assert len(passes) == 1
    assert found.queries == (1, 7, 29, 30)
    for k, queries in enumerate(found.queries):
        rows = results_at(run, queries)[0].done
        assert rows.images == found.results.images
        np.testing.assert_array_equal(found.scores[:, k], rows.real("score_adv"))
        np.testing.assert_array_equal(found.gains[:, k], rows.real("gain"))
    with pytest.raises(InputError, match="expected 1 to 30"):
        reached(run, [1, 31])
