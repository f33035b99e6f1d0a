"""The file of metrics: what a kill leaves behind is mended, what is damaged is said."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from agents.training.errors import CheckpointError
from agents.training.metrics import FILE_NAME, MetricsLog, read_metrics

LINES = b'{"update": 0, "f1": 0.5}\n{"update": 1, "f1": 0.75}\n{"update": 2, "f1": 1.0}\n'
METRICS = [{"update": 0, "f1": 0.5}, {"update": 1, "f1": 0.75}, {"update": 2, "f1": 1.0}]


def fill(folder, content):
    (folder / FILE_NAME).write_bytes(content)


def test_read_metrics_of_a_folder_without_any_is_empty(tmp_path):
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("cut", [b'{"update"', b'{"update": 3, "f1": 0.', b"{", b'{"\xc3'])
def test_read_metrics_leaves_a_cut_last_line_out(tmp_path, cut):
    fill(tmp_path, LINES + cut)
    assert read_metrics(tmp_path) == METRICS


def test_read_metrics_keeps_a_last_line_that_lacks_its_end_only(tmp_path):
    fill(tmp_path, LINES[:-1])
    assert read_metrics(tmp_path) == METRICS


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"update": 1, "f1"\n', "not a line of JSON"),
        (b"[1]\n", "expected a JSON object"),
        (b'{"f1": 0.5}\n', "expected figures with `update`"),
        (b"\xff\n", "not a line of JSON"),
    ],
)
@pytest.mark.parametrize("at", [1, 3])
def test_read_metrics_names_file_and_line_of_a_bad_line(tmp_path, bad, reason, at):
    """A bad line in the middle once dropped, in silence, all that came after it."""
    lines = LINES.splitlines(keepends=True)
    fill(tmp_path, b"".join([*lines[:at], bad, *lines[at:]]))
    with pytest.raises(CheckpointError, match=rf"metrics.jsonl:{at + 1}: {reason}.*delete it\."):
        read_metrics(tmp_path)


def test_log_refuses_a_damaged_file_and_leaves_it(tmp_path):
    fill(tmp_path, b"nonsense\n" + LINES)
    with pytest.raises(CheckpointError, match=r"metrics.jsonl:1"):
        MetricsLog(tmp_path, updates_done=2)
    assert (tmp_path / FILE_NAME).read_bytes() == b"nonsense\n" + LINES


def test_log_goes_on_after_the_updates_done(tmp_path):
    fill(tmp_path, LINES + b'{"upd')
    log = MetricsLog(tmp_path, updates_done=1)
    assert log.written == METRICS[:2]
    log.write({"update": 2, "f1": 0.0})
    log.close()
    assert read_metrics(tmp_path) == [*METRICS[:2], {"update": 2, "f1": 0.0}]


def test_log_of_a_new_run_begins_anew_whatever_is_there(tmp_path):
    fill(tmp_path, b"nonsense\n")
    MetricsLog(tmp_path).close()
    assert read_metrics(tmp_path) == []


def test_log_that_cannot_be_rewritten_leaves_the_old_file(tmp_path, monkeypatch):
    """The file was once emptied, and then written: a kill between lost all metrics."""
    fill(tmp_path, LINES)

    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("zs_env.files.os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        MetricsLog(tmp_path, updates_done=1)
    assert (tmp_path / FILE_NAME).read_bytes() == LINES
