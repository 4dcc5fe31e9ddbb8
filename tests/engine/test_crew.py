"""Processes beside a driver: which of several things each one runs."""

from multiprocessing import Pipe
from typing import Any

from iqattack.children import Lost
from iqattack.engine.crew import LocalCrew


def test_they_take_turns_and_a_replacement_takes_what_was_lost(monkeypatch):
    """As workers do over several GPUs."""
    started, children = [], []

    class Child:
        def __init__(self, serve, threads):
            started.append(serve)
            children.append(self)
            self.connection, self.theirs = Pipe()

        def how_it_ended(self):
            return "ended"

        def kill(self):
            self.connection.close()

    monkeypatch.setattr("iqattack.engine.crew.Child", Child)
    works: list[Any] = ["first", "second"]  # functions, of which it only hands them on
    crew = LocalCrew(works, 1)
    members = [crew.start() for _ in range(5)]
    assert started == ["first", "second", "first", "second", "first"]
    children[1].theirs.close()
    assert list(crew.received(1.0)) == [(members[1], Lost("ended"))]
    crew.start()
    assert started[5:] == ["second"]
    for member in members:
        member.kill()
