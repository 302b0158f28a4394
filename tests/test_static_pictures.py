"""Static pictures: drawn where a browser can be had, and never waited for without a limit."""

import os
import signal
import stat

import plotly.graph_objects as go
import pytest

from medmm_lib import plots
from medmm_lib.static_pictures import StaticPictures

pytest.importorskip("kaleido")
FIGURE = go.Figure(go.Scatter(y=[1, 2]))


def logged(caplog):
    """What the pictures themselves logged; kaleido logs too."""
    return [record.getMessage() for record in caplog.records if record.name == "medmm_lib.static_pictures"]


def test_a_missing_browser_is_said_once_and_costs_only_the_static_picture(monkeypatch, caplog):
    monkeypatch.setenv("BROWSER_PATH", "/nonexistent")
    monkeypatch.setattr(plots, "PICTURES", StaticPictures())
    shown = []
    monkeypatch.setattr(plots, "display", lambda data, raw: shown.append(data))
    for _ in range(2):
        plots.show(FIGURE, alt="A line rises from 1 to 2")
    [message] = logged(caplog)
    assert message.startswith("no static pictures of the figures (only a PDF needs them): No browser found")
    assert all("image/png" not in data for data in shown)


def test_a_browser_that_never_answers_is_not_waited_for(monkeypatch, tmp_path, caplog):
    browser = tmp_path / "browser"
    browser.write_text("#!/bin/sh\nexec sleep 600\n")
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("BROWSER_PATH", str(browser))
    pictures = StaticPictures(limit=0.5)
    assert pictures.png(FIGURE, 100, 100) is None
    assert pictures.png(FIGURE, 100, 100) is None
    assert logged(caplog) == [
        "no static pictures of the figures (only a PDF needs them): the browser did not answer within 0.5 seconds"
    ]


@pytest.mark.browser
def test_a_browser_that_stops_answering_is_replaced(caplog):
    pictures = StaticPictures(limit=20)  # a browser has taken more than 6 s to start beside other work
    assert pictures.png(FIGURE, 100, 100).startswith(b"\x89PNG")
    stopped = pictures._browser.subprocess
    os.killpg(stopped.pid, signal.SIGSTOP)
    assert pictures.png(FIGURE, 100, 100).startswith(b"\x89PNG")
    assert stopped.wait(5) == -signal.SIGKILL
    assert not logged(caplog)
