"""What lets a training go on, by itself; the tests of training show it at work."""

import os
import signal
import threading
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn

from ganlib import checkpoints
from ganlib.checkpoints import FORMAT, LateInterrupts, read_checkpoint, write_whole

SETTINGS = {"k": 1, "G": "Linear\nweight: (2, 3)"}


def saved(tmp_path, **changes):
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": FORMAT, "settings": SETTINGS, "step": 7} | changes, path)
    return path


def test_a_checkpoint_of_the_same_settings_is_read(tmp_path):
    assert read_checkpoint(saved(tmp_path), dict(SETTINGS))["step"] == 7


def test_other_settings_are_told_by_name_and_by_the_line_that_differs(tmp_path):
    other = {"k": 1, "G": "Linear\nweight: (2, 4)"}
    with pytest.raises(ValueError, match="other settings") as caught:
        read_checkpoint(saved(tmp_path), other)
    line = "  G: the checkpoint has weight: (2, 3), this run has weight: (2, 4)"
    assert str(caught.value).splitlines()[1:] == [line]


def test_a_setting_that_came_later_has_its_old_value_in_older_checkpoints(tmp_path):
    path, later = saved(tmp_path), {"jitter": False}
    assert read_checkpoint(path, SETTINGS | {"jitter": False}, later)["step"] == 7
    with pytest.raises(ValueError, match="jitter: the checkpoint has False, this run has True"):
        read_checkpoint(path, SETTINGS | {"jitter": True}, later)


@pytest.mark.parametrize("raw", [b"", b"no checkpoint"])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path, raw):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a readable checkpoint"):
        read_checkpoint(path, SETTINGS)


@pytest.mark.parametrize(
    "state", [{"format": FORMAT}, {"format": "1", "settings": SETTINGS}, {"settings": SETTINGS}]
)
def test_what_lacks_a_part_of_a_checkpoint_is_refused_by_name(tmp_path, state):
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a readable checkpoint"):
        read_checkpoint(tmp_path / "checkpoint.pt", SETTINGS)


def test_nobody_is_told_to_delete_what_could_not_be_read_this_time(tmp_path, monkeypatch):
    unreadable = Path("/proc/self/mem")  # of Linux: it opens, and cannot be read from its start
    if unreadable.exists():
        with pytest.raises(OSError, match="Input/output error"):
            read_checkpoint(unreadable, SETTINGS)
    with pytest.raises(RuntimeError) as too_much:
        torch.empty(10**15)
    for error in (MemoryError(), too_much.value):
        monkeypatch.setattr(torch, "load", mock.Mock(side_effect=error))
        with pytest.raises(MemoryError):
            read_checkpoint(saved(tmp_path), SETTINGS)


def test_a_newer_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"has format {FORMAT + 1}.* formats up to {FORMAT}"):
        read_checkpoint(saved(tmp_path, format=FORMAT + 1), SETTINGS)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_whole(path, lambda part: part.write_text("old"))

    def half(part):
        part.write_text("n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, half)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
    write_whole(path, lambda part: part.write_text("new"))
    assert path.read_text() == "new"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="out must be a folder that can be made"):
        checkpoints.check_out(tmp_path / "file" / "run", nn.Linear(1, 1))


def test_fingerprints_tell_shape_type_and_contents():
    x = torch.arange(6, dtype=torch.uint8)
    assert checkpoints.fingerprint(x) == checkpoints.fingerprint(x.clone())
    others = [x.view(2, 3), x.float(), x.flip(0)]
    assert len({checkpoints.fingerprint(one) for one in [x, *others]}) == 4


def test_random_states_come_back():
    like = torch.zeros(1)
    with torch.random.fork_rng(devices=[]):
        checkpoints.seed_all(like, 5)
        states = checkpoints.get_rng(like)
        first = torch.rand(3)
        checkpoints.set_rng(like, states)
        assert torch.equal(torch.rand(3), first)


def test_an_interrupt_is_noted_once_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with LateInterrupts() as interrupts:
        assert not interrupts.received
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.received
        assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_handlers_are_left_alone():
    found = []

    def work():
        with LateInterrupts() as interrupts:
            found.append(interrupts.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
