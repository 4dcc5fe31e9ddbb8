"""What becomes of what workers send, and of what they do not: their ends are scripted here."""

import operator
import os
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe

import numpy as np
import pytest

from iqattack.children import Child, Lost
from iqattack.engine import Failure, Interrupted, Plan, Workers
from iqattack.engine.events import Attacked, Busy, CleanScore, Found, Note, Replies
from iqattack.engine.log import ROW
from iqattack.engine.schedule import Opener
from iqattack.engine.workers import Assigned, Ready, Stop, Wanted, merged
from iqattack.errors import InputError, RunError
from iqattack.objectives import towards_end

KILLED = "was killed by signal 9 (SIGKILL)"


@pytest.fixture
def workers(monkeypatch):
    """Makes workers of scripts, functions of a worker's end, one for each that is started."""
    made, threads = [], []

    def make(number, *scripts, stop=lambda: False):
        left = list(scripts)

        class Child:
            def __init__(self, serve, threads_):
                assert left, "one more was started than was to be"
                script = left.pop(0)
                self.connection, self._theirs = Pipe()
                self.pid = 0

                def play():
                    with suppress(EOFError, OSError):  # the other end has closed
                        script(self._theirs)
                    self._theirs.close()

                threads.append(threading.Thread(target=play, daemon=True))
                threads[-1].start()

            def how_it_ended(self):
                return KILLED

            def kill(self):
                self.connection.close()

        monkeypatch.setattr("iqattack.engine.crew.Child", Child)
        made.append(Workers(number, lambda stop: None, stop=stop))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def plans(images):
    """A plan for each image, whose clean score is known."""
    return [
        Plan(entry, towards_end("up", 50.0, (0.0, 100.0), False), 9, clean(k), {})
        for k, entry in enumerate(images)
    ]


def clean(k):
    return np.array([(1000 * k, 50.0)], dtype=ROW)


def rows(plan, first, n=1):
    """What the model said of n queries of a plan's image, from number `first` on."""
    base = int(plan.logged["hash"][0])
    found = [(base + k, 50.0 + k) for k in range(first, first + n)]
    return Replies({plan.entry.name: (first, found)}, scored=n)


def begin(end):
    """Ready, and the first job."""
    end.send(Ready())
    end.send(Wanted())
    return end.recv()


def finish(end, plan, first, last):
    """Ask the rest, and report the image as attacked."""
    end.send(rows(plan, first, last - first))
    end.send(Attacked(plan.entry, 0.5))


def idle(end):
    end.send(Wanted())
    while not isinstance(end.recv(), Stop):
        pass


def events(found):
    """Rows by image, and all that are no replies."""
    taken, others = {}, []
    for event in found:
        if isinstance(event, Replies):
            for name, (first, new) in event.rows.items():
                assert first == len(taken.setdefault(name, [])) + 1
                taken[name] += new
        else:
            others.append(event)
    return taken, others


def test_a_worker_that_is_lost_is_replaced_and_its_image_goes_on(workers, plans):
    plan, jobs = plans[0], []

    def first(end):
        begin(end)
        end.send(rows(plan, 1, 3))

    def second(end):
        jobs.append(begin(end))
        finish(end, plan, 4, 9)
        idle(end)

    taken, others = events(workers(1, first, second).search([plan]))
    assert [pair[0] for pair in taken[plan.entry.name]] == list(range(1, 9))
    assert [type(event) for event in others] == [Attacked]
    assert jobs[0].logged["hash"].tolist() == [0, 1, 2, 3]
    assert jobs[0].early == {}


def test_replies_before_their_turn_go_to_the_next_worker(workers, plans):
    plan, jobs = replace(plans[0], early={3: (3, 53.0), 7: (7, 57.0)}), []
    name = plan.entry.name

    def first(end):
        begin(end)
        end.send(Replies(early={name: {2: (2, 52.0), 5: (5, 55.0)}}, scored=2))
        # The first comes, then those that waited for it, that of the session before among them.
        end.send(Replies({name: (1, [(k, 50.0 + k) for k in (1, 2, 3)])}, scored=1))

    def second(end):
        jobs.append(begin(end))
        end.send(Attacked(plan.entry, 0.5))
        idle(end)

    list(workers(1, first, second).search([plan]))
    assert jobs[0].logged["hash"].tolist() == [0, 1, 2, 3]
    assert jobs[0].early == {5: (5, 55.0), 7: (7, 57.0)}


@pytest.mark.parametrize("progress", [0, 2])
def test_an_image_that_workers_are_lost_over_one_after_the_other_has_failed(
    workers, plans, progress
):
    """The third at the same place; unless one came further: then they are counted from there."""
    plan, other = plans[0], plans[1]
    alone = []

    def first(end):
        begin(end)
        end.send(Wanted())
        end.recv()
        end.send(rows(plan, 1, 3))

    def again(end):
        job = begin(end)
        while job.entry == other.entry:
            finish(end, other, 1, 9)
            end.send(Wanted())
            job = end.recv()
        end.send(Wanted())
        alone.append(not end.poll(0.3))  # no other worker may be lost with it
        if progress and len(job.logged) == 4:
            end.send(rows(plan, 4, progress))

    found = workers(1, first, *[again] * (4 if progress else 3), idle).search([plan, other])
    taken, others = events(found)
    assert len(taken[plan.entry.name]) == 3 + progress
    assert len(taken[other.entry.name]) == 8
    failures = [event for event in others if isinstance(event, Failure)]
    assert failures == [
        Failure(
            plan.entry,
            f"{plan.entry.path}: 3 workers were lost over it, the last one {KILLED}",
            4 + progress,
        )
    ]
    assert failures[0].of_model
    assert all(alone)


def test_a_clean_score_that_came_is_not_asked_for_again(workers, images):
    """The worker is lost between the reply and the event that says so."""
    entry = images[0]

    def first(end):
        begin(end)
        end.send(Replies({entry.name: (0, [(7, 40.0)])}, scored=1))

    found = list(workers(1, first, idle_from_the_start).survey([entry]))
    assert [type(event) for event in found] == [Replies, CleanScore]
    assert found[1] == CleanScore(entry, 40.0)


def idle_from_the_start(end):
    end.send(Ready())
    idle(end)


def test_a_worker_may_be_lost_in_the_middle_of_a_message(workers, plans):
    plan = plans[0]

    def first(end):
        begin(end)
        end.send(rows(plan, 1, 3))
        os.write(end.fileno(), struct.pack("!i", 1000) + b"half a message")

    def second(end):
        finish(end, begin(end), 4, 9)
        idle(end)

    taken, others = events(workers(1, first, second).search([plan]))
    assert len(taken[plan.entry.name]) == 8
    assert [type(event) for event in others] == [Attacked]


@pytest.mark.parametrize("message", [RunError("another image"), RuntimeError("a fault")])
def test_what_came_before_an_error_is_kept(workers, plans, message):
    """Of the worker that sends it, and of the others."""
    sent = threading.Barrier(2)

    def scripted(fails):
        def script(end):
            plan = begin(end)
            sent.wait(20.0)  # both have an image
            if fails:
                sent.wait(20.0)
            end.send(rows(plan, 1, 3))
            end.send(rows(plan, 4, 2))
            if fails:
                end.send(message)
            else:
                sent.wait(20.0)
            idle(end)

        return script

    found = workers(2, scripted(False), scripted(True)).search(plans[:2])
    kept = []
    with pytest.raises(type(message)):
        for event in found:
            kept.append(event)  # noqa: PERF402 - an error ends it
    assert sum(event.scored for event in kept) == 10


def test_workers_that_never_start_end_the_run(workers, plans):
    with pytest.raises(
        InputError, match=r"3 workers in a row .*; the last one was killed by signal 9"
    ):
        list(workers(1, *[lambda end: None] * 4).search(plans))


class Scripted:
    """A crew whose members are lists of messages; those that are sent to them are in `sent`."""

    def __init__(self, scripts, doing=None):
        self.scripts, self.doing, self.sent, self.members = list(scripts), doing, [], []

    def start(self):
        self.members.append(ScriptedMember(self, iter(self.scripts.pop(0))))
        return self.members[-1]

    def received(self, timeout):
        for member in list(self.members):
            message = next(member.script, None)
            if message is not None:
                if isinstance(message, Lost):
                    self.members.remove(member)
                yield member, message

    def waiting(self):
        return self.doing


class ScriptedMember:
    def __init__(self, crew, script):
        self.crew, self.script = crew, script

    def send(self, message):
        self.crew.sent.append(message)

    def kill(self):
        if self in self.crew.members:
            self.crew.members.remove(self)


def with_crew(crew, number):
    return Workers(number, lambda stop: None, stop=lambda: False, crew=lambda _serves, _n: crew)


def test_an_image_is_not_to_blame_for_a_machine_that_was_lost(plans):
    """Neither for two of them, nor is it kept away from others."""
    plan, other = plans[:2]
    gone = Lost("was lost with its node", outside=True)
    last = [Ready(), Wanted(), Wanted(), rows(plan, 4, 5), Attacked(plan.entry, 0.5)]
    crew = Scripted(
        [
            [Ready(), Wanted(), rows(plan, 1, 3), gone],
            [Ready(), Wanted(), gone],
            [*last, Attacked(other.entry, 0.5)],
        ]
    )
    taken, others = events(with_crew(crew, 1).search([plan, other]))
    assert len(taken[plan.entry.name]) == 8
    assert [type(event) for event in others] == [Attacked, Attacked]
    assert [job.entry for job in crew.sent] == [plan.entry] * 3 + [other.entry]
    assert [len(job.logged) for job in crew.sent] == [1, 4, 4, 1]


@pytest.mark.parametrize("outside", [False, True])
def test_what_was_found_about_an_image_goes_to_the_next_worker(plans, outside):
    """On another machine, a scale is a little different, and so would be what is asked."""
    plan = plans[0]
    gone = Lost("was lost", outside=outside)
    last = [Ready(), Wanted(), Found(plan.entry.name, 1.23), Attacked(plan.entry, 0.5)]
    crew = Scripted(
        [
            [Ready(), Wanted(), Found(plan.entry.name, 1.23), rows(plan, 1, 3), gone],
            [Ready(), Wanted(), Found(plan.entry.name, 1.24), gone],
            last,
        ]
    )
    events(with_crew(crew, 1).search([plan]))
    assert [job.found for job in crew.sent] == [None, 1.23, 1.23]


def test_an_image_that_waits_for_an_idle_worker_keeps_no_other_waiting(plans):
    """A worker is lost over the first one, perhaps, and another one with its node."""
    suspect, lost, mine, new = plans[:4]
    gone = Lost("was lost with its node", outside=True)
    busy = [Ready(), Wanted(), None, None, Wanted(), None]
    busy += [Attacked(each.entry, 0.5) for each in (mine, lost)]
    busy += [Wanted(), Attacked(suspect.entry, 0.5), Wanted(), Attacked(new.entry, 0.5)]
    crew = Scripted(
        [
            [Ready(), Wanted(), None, Lost(KILLED)],
            [Ready(), Wanted(), None, gone],
            busy,
            [],
            [],
        ]
    )
    _, others = events(with_crew(crew, 3).search([suspect, lost, mine, new]))
    assert [type(event) for event in others] == [Attacked] * 4
    order = [suspect, lost, mine, lost, suspect, new]
    assert [job.entry for job in crew.sent] == [plan.entry for plan in order]


def test_machines_that_are_lost_while_workers_start_do_not_end_the_run(plans):
    gone = Lost("was preempted with its node", outside=True)
    end = [Ready(), Wanted(), Attacked(plans[0].entry, 0.5)]
    crew = Scripted([*[[gone]] * 5, end])
    _, others = events(with_crew(crew, 1).search(plans[:1]))
    assert [type(event) for event in others] == [Attacked]


def test_what_is_waited_for_is_said_and_what_workers_note_once(plans, monkeypatch):
    monkeypatch.setattr("iqattack.engine.workers.SAID_S", 0.0)
    ready = Ready(("node b has torch 2.6",))
    script = [ready, Wanted(), Attacked(plans[0].entry, 0.5)]
    crew = Scripted([[ready], script], "waiting for the cluster: 1 of 2 workers")
    _, others = events(with_crew(crew, 2).search(plans[:1]))
    assert Busy("waiting for the cluster: 1 of 2 workers") in others
    notes = [event for event in others if isinstance(event, Note)]
    assert notes == [Note("workers", "node b has torch 2.6")]


def test_when_it_is_to_stop_what_they_still_say_is_kept(workers, plans):
    stopping = threading.Event()
    plan = plans[0]

    def script(end):
        begin(end)
        end.send(rows(plan, 1, 1))
        stopping.set()
        while not isinstance(end.recv(), Stop):
            pass
        end.send(rows(plan, 2, 3))
        end.send(Attacked(plan.entry, 0.5))

    kept = []
    with pytest.raises(Interrupted):
        for event in workers(1, script, stop=stopping.is_set).search(plans[:1]):
            kept.append(event)  # noqa: PERF402
    taken, others = events(kept)
    assert len(taken[plan.entry.name]) == 4
    assert [type(event) for event in others] == [Attacked]


def test_long_messages_both_ways_at_once(workers, plans):
    """A worker that sends a large picture and a driver that sends a long log do not deadlock."""
    long = np.zeros(1_000_000, dtype=ROW)
    first, second = plans[0], replace(plans[1], logged=long)

    def script(end):
        source, jobs = Assigned(end), []

        def opened(job):
            jobs.append(job)
            return Opener(pytest.fail, lambda *_: pytest.fail("was opened"))

        source.opener = opened
        end.send(Ready())
        source.take(wait=True)
        assert jobs[-1].entry == first.entry
        source.take(wait=False)  # asks for the second one, which is too long to be there yet
        for _ in range(3):
            end.send(big)
        end.send(Attacked(first.entry, 0.5))
        source.take(wait=True)
        end.send(Attacked(jobs[-1].entry, 0.5))
        source.take(wait=True)

    big = Replies(gains={"x" * 5_000_000: 0.0})
    done, found = threading.Event(), []

    def run():
        found.extend(workers_.search([first, second]))
        done.set()

    workers_ = workers(1, script)
    threading.Thread(target=run, daemon=True).start()
    assert done.wait(30.0)
    assert sum(isinstance(event, Attacked) for event in found) == 2


def test_several_replies_as_one():
    one = Replies({"a": (1, [(1, 1.0)])}, {"a": {4: (4, 4.0)}, "b": {2: (2, 2.0)}}, {"a": 1}, 3)
    two = Replies({"a": (2, [(2, 2.0), (3, 3.0), (4, 4.0)])}, {}, {"a": 2, "b": 1}, 2, batch=4)
    both = merged([one, two])
    assert both.rows == {"a": (1, [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)])}
    assert {name: early for name, early in both.early.items() if early} == {"b": {2: (2, 2.0)}}
    assert both.attempts == {"a": 3, "b": 1}
    assert (both.scored, both.batch) == (5, 4)
    assert merged([one]) is one
    assert one.rows == {"a": (1, [(1, 1.0)])}  # as it was


def test_a_default_timeout_of_sockets_does_not_end_waiting():
    """A model may set it, and a worker takes longer to load its model, or to score."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(1e-4)
    try:
        child = Child(operator.methodcaller("send", "ready"), 1)
        assert child.connection.recv() == "ready"
        child.kill()
    finally:
        socket.setdefaulttimeout(before)
