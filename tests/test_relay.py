"""What stands between a worker and a driver on another machine, without either."""

import operator
import pickle
import threading
import time

import pytest

from iqattack import relay as module
from iqattack.children import Lost, pack
from iqattack.relay import HELD_BYTES, Relay


def test_messages_come_all_at_once_and_then_how_the_child_ended():
    relay = Relay(pack(operator.methodcaller("send", "ready")), 1)
    messages, lost = relay.fetch()
    if lost is None:
        none, lost = relay.fetch()
        assert none == []
    assert list(map(pickle.loads, messages)) == ["ready"]
    assert lost == Lost("ended with status 0")
    relay.send(pickle.dumps("too late"))
    assert relay.fetch() == ([], lost)


def talk(connection):
    """Say as much as is taken, and stop when something is heard."""
    heard = threading.Event()

    def listen():
        connection.recv()
        heard.set()

    threading.Thread(target=listen).start()
    number = 0
    while not heard.is_set():
        connection.send((number, b"." * 1000))
        number += 1
    connection.send((number, b"last"))


@pytest.mark.parametrize("away", [None, 0.0])
def test_who_is_not_listened_to_has_to_wait(monkeypatch, away):
    """Where a driver has not fetched for a while, as it may have been killed, with the next one."""
    if away is not None:
        monkeypatch.setattr(module, "AWAY_S", away)
    relay = Relay(pack(talk), 1)
    messages, lost = relay.fetch()
    held = []
    while len(held) < 20 or not held[-1] or held[-1] != held[-20]:
        time.sleep(0.02)
        held.append(list(relay._held))
    assert sum(map(len, held[-1])) <= HELD_BYTES
    assert len(held[-1]) == 1 or away is None
    relay.send(pickle.dumps("stop"))
    while lost is None:
        more, lost = relay.fetch()
        messages += more
    assert [pickle.loads(message)[0] for message in messages] == list(range(len(messages)))
    assert lost == Lost("ended with status 0")
