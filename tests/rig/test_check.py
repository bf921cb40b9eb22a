"""``rig check``: what it prints, how to mend it, and its exit code; and what a rig's file may say of a card."""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hardware.events import Verdict
from hardware.lines import Line
from hardware.links.keys import make_key
from hardware.simulated.twin import Twin
from rig.cli import app
from rig.config.files import load_rig, shipped
from rig.config.load import ConfigError
from rig.config.rig import NidaqCardConfig, RigConfig
from rig.session.check import touched
from tests.builders import rig_config
from tests.hardware.card_on_twin import CardOnTwin, opened


def said(*arguments: str | Path) -> tuple[int, str]:
    """The exit code of ``rig check`` and all that it said."""
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture
def twin_file(tmp_path: Path) -> Path:
    """A copy of the twin's file, to be changed."""
    path = tmp_path / "rig.yaml"
    path.write_text(shipped("rigs")["twin"].read_text(encoding="utf-8"), encoding="utf-8")
    return path


def change(path: Path, was: str, becomes: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert was in text
    path.write_text(text.replace(was, becomes), encoding="utf-8")


@pytest.mark.parametrize("name", ["simulated", "simulated_imaging"])
def test_a_simulated_rig_passes(name: str) -> None:
    code, words = said("--rig", name)
    assert code == 0, words
    assert "✓ pass  lick line: low." in words
    assert words.splitlines()[-1].startswith(f"{name}: ")


def test_the_twin_passes_through_the_real_library_with_its_loop_back_wire() -> None:
    code, words = said("--rig", "twin", "--loopback")
    assert code == 0, words
    for begin in (
        "✓ pass  card: PCIe-6363",
        "✓ pass  pins: 16 signals, none shared.",
        "✓ pass  lick line: low.",
        "✓ pass  frame pulse: seen back",
        "✓ pass  valve echo: low.",
        "✓ pass  encoder supply: 4.8",
        "✓ pass  lick to pulse: ",
        "✓ pass  valve pulses: 20 of 20",
        "✓ pass  valve stopped in mid pulse: low",
    ):
        assert any(line.startswith(begin) for line in words.splitlines()), words


def test_what_has_failed_is_said_with_its_remedy_and_the_exit_code(twin_file: Path) -> None:
    change(twin_file, "frame_output: port1/line4", "frame_output: port1/line0")  # PFI0, where the lick sensor is
    code, words = said("--rig", twin_file)
    assert code == 1
    assert "card.frame_output: port1/line0 is used by lick_terminal already" in words


def test_an_old_calibration_is_warned_of_and_fails_nothing(twin_file: Path) -> None:
    change(twin_file, "2026-11-01", "2026-01-01")
    code, words = said("--rig", twin_file)
    assert code == 0, words
    assert "▲ warn  valve calibration age" in words
    assert "Weigh the water again and date the calibration." in words


def test_a_card_without_driver_or_server_is_one_finding_with_its_remedy(twin_file: Path) -> None:
    change(twin_file, "twin:\n    drift_ppm: 50", "twin: null")
    change(twin_file, "address: null ", "address: localhost:1 ")
    change(twin_file, "deadline_s: 0.8 ", "deadline_s: 0.2 ")
    code, words = said("--rig", twin_file)
    assert code == 1
    first, last = words.splitlines()
    assert first.startswith("✗ FAIL  card: the device server no longer answers")
    assert "check" in first.lower()
    assert last.endswith("1 finding, 1 failed, 0 to look at.")


def test_a_loop_back_wire_is_looked_for_on_cards_only() -> None:
    code, words = said("--rig", "simulated", "--loopback")
    assert code == 1
    assert "has a simulated card without wires" in words


def test_a_real_valve_is_not_pulsed_unasked() -> None:
    result = CliRunner().invoke(app, ["check", "--rig", "example_nidaq", "--loopback"], input="n\n")
    assert result.exit_code == 1
    assert "Is the valve unplugged" in result.output
    assert "✗" not in result.output


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("reward_echo: 7", "reward_echo: 2", "card.lines.reward_echo: port0/line2 is used by lines.vsync_stim already; give each a pin of its own"),
        ("reward_echo: 7", "reward_ecko: 7", "card.lines: there is no line reward_ecko; did you mean reward_echo?"),
        ("    lick_sensor: 31\n", "", "card.lines: nothing works without lick_sensor; give each the line of port 0 it is wired to"),
        ("valve_terminal: PFI12", "valve_terminal: PFI4", "card.frame_output: port1/line4 is used by valve_terminal already; give each a pin of its own (PFI n is line n of port 1, from 8 on of port 2)"),
        ("edge_counter: ctr1", "edge_counter: ctr0", "card.valve_counter: ctr0 is used by edge_counter already; a counter does one thing"),
        ("supply_channel: ai1", "supply_channel: ai0", "card.supply_channel: ai0 is used by signal_channel already"),
        ("address: null", "address: localhost:31763", "card.address: must be null with a twin, which is started with the session"),
        ("paths: [card, software]", "paths: [card]", "valve.paths: needs software: the card alone can't pay licks at the ends of the response window"),
        ("imaging: false", "imaging: true", "microscope: must be of kind zmq, or process on a twin, where a card of kind nidaq images"),
        ("watchdog_s: 2", "watchdog_s: 0.5", "card.watchdog_s: input should be greater than or equal to 1; it is 0.5"),
        ("kind: nidaq", "kind: nidak", "card: kind 'nidak' is not known; one of 'simulated', 'nidaq'"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_named_with_its_line(twin_file: Path, was: str, becomes: str, message: str) -> None:
    change(twin_file, was, becomes)
    with pytest.raises(ConfigError) as caught:
        load_rig(str(twin_file))
    (sentence,) = str(caught.value).splitlines()
    where, _, words = sentence.removeprefix(f"{twin_file}:").partition(": ")
    assert words == message
    assert int(where) > 1


def test_faults_are_not_asked_for_on_a_real_card() -> None:
    with pytest.raises(ValueError, match="on a simulated card or a twin, not on a real one"):
        rig_config("example_nidaq", faults={"device_gone_s": 1.0})


def test_faults_of_a_device_server_are_asked_for_on_a_twin_only() -> None:
    rig_config("twin", faults={"answers_late_s": 1.0})
    with pytest.raises(ValueError, match=r"faults\.answers_late_s: can be asked for on a twin only"):
        rig_config("simulated", faults={"answers_late_s": 1.0})


def test_a_rigs_card_comes_back_from_a_log_as_it_was() -> None:
    for name in ("simulated", "twin", "example_nidaq"):
        config = load_rig(name)
        assert RigConfig.model_validate(config.model_dump(mode="json")) == config


def test_the_devices_get_the_wires_of_the_file() -> None:
    card = load_rig("twin").card
    assert isinstance(card, NidaqCardConfig)
    wired = card.wired(address="127.0.0.1:1")
    assert wired.address == "127.0.0.1:1"
    assert wired.input_line(Line.LICK_SENSOR) == "Dev1/port0/line31"
    assert set(wired.lines) == set(Line)


def test_the_readmes_wiring_table_is_the_example() -> None:
    card = load_rig("example_nidaq").card
    assert isinstance(card, NidaqCardConfig)
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    for label, n in card.lines.items():
        assert f"| `{label}` | in | port0/line{n} |" in readme
    for field in ("lick_terminal", "signal_channel", "supply_channel"):
        assert f"| `{field}` | in | {getattr(card, field)} |" in readme
    for field in ("valve_terminal", "frame_output", "running_output", "acquire_output", "align_output"):
        assert f"| `{field}` | out | {getattr(card, field)} |" in readme


def test_a_simulated_spout_can_not_be_touched() -> None:
    code, words = said("--rig", "twin", "--touch")
    assert code == 1
    assert "which nobody can touch" in " ".join(words.split())


def test_a_touch_of_the_spout_shows_that_the_lick_line_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    with Twin() as twin, opened(CardOnTwin(twin, live=True)) as rig:
        now_s = rig.clock.now_s()
        rig.bench.edges("PFI0", [now_s + 0.3, now_s + 0.35])
        assert touched(rig.edges).verdict is Verdict.PASS
        monkeypatch.setattr("rig.session.check.TOUCH_S", 0.2)
        silent = touched(rig.edges)
        assert (silent.verdict, silent.figure) == (Verdict.FAIL, "silent for 0.2 s")
        assert silent.remedy


def test_a_line_that_is_not_there_can_not_fail() -> None:
    fields = rig_config("twin").model_dump()
    del fields["card"]["lines"]["vsync_2p"]
    for fault in ("vsync_2p_dead_s", "vsync_2p_and_photodiode_swapped_s"):
        with pytest.raises(ValueError, match=rf"faults\.{fault}: there is no line vsync_2p"):
            RigConfig.model_validate({**fields, "faults": {fault: 1.0}})
    RigConfig.model_validate({**fields, "faults": {"photodiode_unplugged_s": 1.0}})


def away(tmp_path: Path, *, key: bool) -> Path:
    """A rig with a simulated card whose microscope's computer does not answer."""
    keys = tmp_path / "keys"
    for name in ("rig1", "scope") if key else ():
        make_key(keys, name, made_at="2026-01-01")
    fields = f"  kind: zmq\n  address: 127.0.0.1:9\n  keys: {keys}\n  own_key: rig1\n  peer_key: scope\n"
    fields += "  reply_s: 0.2\n  heartbeat_s: 0.05\n"
    before, _, after = shipped("rigs")["simulated_link"].read_text(encoding="utf-8").partition("microscope:\n")
    path = tmp_path / "rig.yaml"
    path.write_text(f"{before}microscope:\n{fields}{after[after.index('lick_latency_s') :]}", encoding="utf-8")
    return path


@pytest.mark.parametrize("key", [True, False], ids=["its computer is away", "its key is missing"])
def test_all_others_are_examined_where_the_microscope_can_t_be(tmp_path: Path, key: bool) -> None:
    code, words = said("--rig", away(tmp_path, key=key))
    assert code == 1
    assert "✗ FAIL  microscope: " in words
    assert "✓ pass  lick line: low." in words
    assert any("valve calibration age" in line for line in words.splitlines())


def test_a_real_microscope_on_a_rig_without_wires_is_warned_of(tmp_path: Path) -> None:
    path = away(tmp_path, key=True)
    warning = "microscope wires: its frame pulses reach a real card only; here vsync_2p stays silent"
    assert f"▲ warn  {warning}" in said("--rig", path)[1]
    validated = CliRunner().invoke(app, ["validate", str(path)])
    assert validated.exit_code == 0
    assert f"▲ {warning}" in validated.stderr
    assert "fine but for that" in validated.stdout
