"""A short smoke of the fuzzer (`make fuzz` runs it for long), and that it finds what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fuzz import handshake_fuzz
from fuzz.targets import DECODERS, machines, seeds

KEPT = handshake_fuzz.corpus()
ROOT = Path(__file__).parents[3]
EXAMPLES = 40


@pytest.mark.parametrize("name", DECODERS)
def test_decoders(name: str) -> None:
    for data in KEPT:
        DECODERS[name](data)
    assert handshake_fuzz.fuzz(DECODERS[name], KEPT, EXAMPLES, 1) is None


@pytest.mark.parametrize("name", machines())
def test_machines(name: str) -> None:
    assert handshake_fuzz.fuzz(machines()[name], KEPT, EXAMPLES, 1) is None


def test_the_corpus_is_of_the_layouts_of_today() -> None:
    made = seeds()
    assert {data[:4] for data in made.values()} <= {data[:4] for data in KEPT}
    files = {path.stem for path in handshake_fuzz.CORPUS.glob("*.bin")}
    assert files >= {name.replace(" ", "_") for name in made}
    sizes = {path.stem: path.stat().st_size for path in handshake_fuzz.CORPUS.glob("*.bin")}
    assert {name: len(data) for name, data in made.items()}.items() <= {
        name.replace("_", " "): size for name, size in sizes.items()
    }.items()


def test_a_defect_is_found_and_shrunk() -> None:
    def careless(data: bytes) -> None:
        if len(data) > 30 and data[:3] == b"\xf1\x9a\x71":
            data[4000]

    found = handshake_fuzz.fuzz(careless, KEPT, 200, 1)
    assert found is not None
    assert found[:3] == b"\xf1\x9a\x71"


def test_every_decoder_of_the_handshake_is_a_target() -> None:
    """A new `decode_..._untrusted` in these modules must be fuzzed, or this fails."""
    source = (ROOT / "fuzz" / "targets.py").read_text()
    rooms = {
        "handshake": ("wire", "negotiation", "ticket", "transient"),
        "crypto": ("pseudonym", "keys"),
    }
    core = ROOT / "transport" / "core"
    for module in (core / room / f"{name}.py" for room, names in rooms.items() for name in names):
        text = module.read_text()
        for name in re.findall(
            r"^def ((?:decode|verify|key_of|static_of)\w*_untrusted)", text, re.M
        ):
            if name not in ("verify_transient_untrusted",):  # through "record" and the machines
                assert name in source, name


def test_the_command_runs_to_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake_fuzz, "EXAMPLES_PER_ROUND", 1)
    ticks = iter(range(10_000))
    assert handshake_fuzz.run_for(20.0, lambda: float(next(ticks)), 1)["failures"] == 0
    assert handshake_fuzz.main(["--seconds", "0"]) == 0
    assert '"failures": 0' in capsys.readouterr().out
