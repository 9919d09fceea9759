"""The server under load for some seconds; `load.py` takes an index of your own and a minute."""

from __future__ import annotations

import time

import pytest

from conaclip_edge.web.server import slow_clients as patience
from tests.web.server.load import GROWTH, growth, under_load


def test_many_clients_get_no_error_and_memory_stays_flat(searched):
    seen = under_load(searched.index, 64, 15)
    assert seen.errors == []
    assert len(seen.seconds) > 64
    assert growth(seen) < GROWTH
    assert seen.refused > 0
    assert seen.held
    assert max(seen.held) < 2 * patience.HEAD_SECONDS


@pytest.mark.parametrize("more", [{"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}])
def test_a_picture_that_does_not_come_is_refused(hasty_address, more):
    import http.client

    connection = http.client.HTTPConnection(hasty_address.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/search")
    for name, value in more.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 408
    assert b"did not come within 0.2 s" in answer.read()


def test_a_slow_but_honest_client_is_served(address):
    import http.client

    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    for _ in range(2):
        connection.putrequest("GET", "/about")
        time.sleep(1)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
