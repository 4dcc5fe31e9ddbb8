import numpy as np
import pytest

from iqattack.models import wrap
from iqattack.runs import Callbacks, Run, execute, read_traces


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


def test_a_run_under_way_has_the_traces_so_far(tmp_path, settings, brightness, images):
    seen = []

    def look(state):
        if state.spent > 0:
            seen.append([len(t.scores) for t in read_traces(Run.open(tmp_path / "run"))])

    with Run.create(tmp_path / "run", settings(), brightness) as run:
        execute(run, images, brightness, batch=2, callbacks=Callbacks(progress=look))
    assert seen[0] == []  # no direction before all clean scores are known
    assert any(0 < sum(lengths) < 5 * 12 for lengths in seen)
    assert seen[-1] == [12] * 5


def test_a_run_without_a_log_has_none(tmp_path, settings, brightness):
    Run.create(tmp_path / "run", settings(), brightness).close()
    assert read_traces(Run.open(tmp_path / "run")) == []
