"""What stands between a worker and a driver on another machine, without either."""

import operator
import pickle
import threading
import time

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
    threading.Thread(target=lambda: (connection.recv(), heard.set())).start()
    number = 0
    while not heard.is_set():
        connection.send((number, b"." * 1000))
        number += 1
    connection.send((number, b"last"))


def test_who_is_not_listened_to_has_to_wait():
    relay = Relay(pack(talk), 1)
    sizes = []
    while len(sizes) < 20 or sizes[-1] != sizes[-20]:
        time.sleep(0.02)
        sizes.append(sum(map(len, list(relay._held))))
    assert 0 < sizes[-1] <= HELD_BYTES
    relay.send(pickle.dumps("stop"))
    numbers, lost = [], None
    while lost is None:
        messages, lost = relay.fetch()
        numbers += [pickle.loads(message)[0] for message in messages]
    assert numbers == list(range(len(numbers)))
    assert lost == Lost("ended with status 0")
