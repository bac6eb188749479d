"""The grammar of -p and --expose: every form, and every mistake in one clear line. Pure."""

from __future__ import annotations

import pytest

from wherry.cli.network_options import add_network_options
from wherry.cli.parser import Parser
from wherry.cli.port_options import add_port_options, port_fields
from wherry.cli.ports import exposed, port_and_transport, publish, published
from wherry.errors import BadRequest
from wherry_protocol.ports import PublishedPort

FORMS = "8080:80, 127.0.0.1:8080:80, [::1]:8080:80, 8000-8010:80-90, 80, any of them with /udp"
RANGE = "ports are 1 to 65535"


@pytest.mark.parametrize(
    ("text", "host_ip", "host_port", "container_port", "protocol"),
    [
        ("80", None, None, 80, "tcp"),
        (":80", None, None, 80, "tcp"),
        ("53/udp", None, None, 53, "udp"),
        ("8080:80", None, 8080, 80, "tcp"),
        ("8080:80/tcp", None, 8080, 80, "tcp"),
        ("8080:80/UDP", None, 8080, 80, "udp"),
        ("8080=80", None, 8080, 80, "tcp"),
        ("8080=80/udp", None, 8080, 80, "udp"),
        ("1:65535", None, 1, 65535, "tcp"),
        ("127.0.0.1:8080:80", "127.0.0.1", 8080, 80, "tcp"),
        ("127.0.0.1:8080=80", "127.0.0.1", 8080, 80, "tcp"),
        ("127.0.0.1::80", "127.0.0.1", None, 80, "tcp"),
        ("192.0.2.1:53:5353/udp", "192.0.2.1", 53, 5353, "udp"),
        ("[::1]:8080:80", "::1", 8080, 80, "tcp"),
        ("[::1]:8080=80", "::1", 8080, 80, "tcp"),
        ("[::1]::80", "::1", None, 80, "tcp"),
        ("[2001:db8::2]:53:53/udp", "2001:db8::2", 53, 53, "udp"),
        ("[::]:80:80", "::", 80, 80, "tcp"),
    ],
)
def test_one_port(
    text: str, host_ip: str | None, host_port: int | None, container_port: int, protocol: str
) -> None:
    """HOST=CONTAINER is what the C original had."""
    (port,) = published(text)
    found = (port.host_ip, port.host_port, port.host_port_end, port.container_port, port.protocol)
    assert found == (host_ip, host_port, None, container_port, protocol)


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80-82", [(None, 80), (None, 81), (None, 82)]),
        ("8000-8002:80-82", [(8000, 80), (8001, 81), (8002, 82)]),
        ("8000-8001=80-81", [(8000, 80), (8001, 81)]),
        ("[::1]:8000-8001:80-81/udp", [(8000, 80), (8001, 81)]),
        ("127.0.0.1::80-81", [(None, 80), (None, 81)]),
        ("80-80:90-90", [(80, 90)]),
    ],
)
def test_ranges_are_spelt_out(text: str, ports: list[tuple[int | None, int]]) -> None:
    assert [(port.host_port, port.container_port) for port in published(text)] == ports


def test_one_port_of_a_range_of_the_hosts() -> None:
    asked = PublishedPort(host_port=8000, host_port_end=8010, container_port=80, host_ip="127.0.0.1")
    assert published("127.0.0.1:8000-8010:80") == (asked,)


def test_several_options_add_up() -> None:
    assert [port.container_port for port in publish(["80", "8080-8081:90-91"])] == [80, 90, 91]
    with pytest.raises(BadRequest, match="-p: 65536 ports are published, 1024 at most are possible"):
        publish(["80", "1-65535"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--network", "host"], "no effect with the host's network"),
        (["--network", "none"], "no effect without a network"),
        (["--network", "lan"], ""),
        ([], ""),
    ],
)
def test_who_publishes_in_vain_is_told(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    parser = Parser("run", "")
    add_port_options(parser)
    add_network_options(parser)
    assert len(port_fields(parser.parse_args(["-p", "80", *words]))["ports"]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert bool(told) is bool(said)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "a port is missing", FORMS),
        ("80:", "a port is missing", FORMS),
        ("80=", "a port is missing", FORMS),
        ("80-", "a port is missing", FORMS),
        ("-80", "a port is missing", FORMS),
        ("=80", "the host's port is missing", "HOST=CONTAINER"),
        ("127.0.0.1:=80", "the host's port is missing", "HOST=CONTAINER"),
        ("http:80", "'http' is no port", FORMS),
        ("80:b", "'b' is no port", FORMS),
        ("1.2.3.4:80", "'1.2.3.4' is no port", FORMS),
        (" 80", "' 80' is no port", FORMS),
        ("+80", "'+80' is no port", FORMS),
        ("8_0", "'8_0' is no port", FORMS),
        ("\u0668\u0660", "'\u0668\u0660' is no port", FORMS),
        ("1-2-3:4-5-6", "'5-6' is no port", FORMS),
        ("0:80", "0 is out of range", RANGE),
        ("80:0", "0 is out of range", RANGE),
        ("80:65536", "65536 is out of range", RANGE),
        ("123456789:80", "123456789 is out of range", RANGE),
        ("80-70", "the range 80-70 runs backwards", None),
        ("70-80:70-75", "the ranges 70-80 and 70-75 are not of the same length", None),
        ("80:70-75", "the ranges 80 and 70-75 are not of the same length", None),
        ("1:2:3:4", "not a published port", FORMS),
        ("::1:80:80", "not a published port", FORMS),
        ("[::1]:80", "not a published port", FORMS),
        ("80==90", "not a published port", FORMS),
        ("80=90=100", "not a published port", FORMS),
        ("80:80:80", "'80' is no IP address", FORMS),
        ("localhost:80:80", "'localhost' is no IP address", FORMS),
        ("256.1.1.1:80:80", "'256.1.1.1' is no IP address", FORMS),
        ("1.2.3:80:80", "'1.2.3' is no IP address", FORMS),
        ("*:80:80", "'*' is no IP address", FORMS),
        ("[fe80::1%eth0]:80:80", "'fe80::1%eth0' is no IP address", FORMS),
        ("[::1", "the address in brackets is malformed", "[::1]:8080:80"),
        ("[]:80:80", "the address in brackets is malformed", "[::1]:8080:80"),
        ("[::1]80:80", "the address in brackets is malformed", "[::1]:8080:80"),
        ("80/", "the protocol is missing", "/tcp or /udp"),
        ("80/sctp", "'sctp' is not a protocol that can be published", "tcp or udp"),
        ("80/tcp/udp", "'tcp/udp' is not a protocol that can be published", "tcp or udp"),
    ],
)
def test_a_mistake_is_named_with_the_option_it_is_in(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        published(text)
    assert (caught.value.message, caught.value.hint) == (f"-p {text!r}: {message}", hint)


def test_exposed_ports() -> None:
    assert exposed(["80", "53/udp", "90-92"]) == ("80/tcp", "53/udp", "90/tcp", "91/tcp", "92/tcp")
    with pytest.raises(BadRequest) as caught:
        exposed(["80:80"])
    said = ("--expose '80:80': '80:80' is no port", "80 or 53/udp")
    assert (caught.value.message, caught.value.hint) == said


def test_a_port_that_is_asked_about() -> None:
    assert port_and_transport("53/udp", "port") == (53, "udp")
    with pytest.raises(BadRequest, match="port: expected one port"):
        port_and_transport("80-81", "port")
