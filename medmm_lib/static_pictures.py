"""Static pictures of figures, for PDF: a browser draws them, and is not waited for once it has stopped answering."""

import asyncio
import atexit
import logging
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

import plotly.graph_objects as go

if TYPE_CHECKING:
    from kaleido import Kaleido

LOG = logging.getLogger(__name__)
LIMIT = 60.0  # seconds; the browser starts within three, and draws a figure in a fifth of one
TRIES = 2  # browsers that are tried before the process goes on without pictures


class StaticPictures:
    """Draws figures with one browser, which starts with the first figure and ends with the process.

    kaleido's own server would wait for ever for a browser that has stopped answering; here every wait has a limit.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        """Give the browser `limit` seconds to start, and as many for each picture."""
        self._limit = limit
        self._tries = TRIES
        self._browser: Kaleido | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def png(self, figure: go.Figure, width: int, height: int) -> bytes | None:
        """The figure as a PNG, `width` × `height` px at twice the density, or None where no browser can draw it.

        A browser that fails is replaced by a new one; when that fails too, the reason is logged, once.
        """
        options = {"format": "png", "width": width, "height": height, "scale": 2}
        while self._tries:
            try:
                return self._within_limit(self._running().calc_fig(figure, opts=options))
            except Exception as error:  # whatever stands in the way, the report goes on without pictures for PDF
                self._kill()
                self._tries -= 1
                if not self._tries:
                    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                    LOG.warning("no static pictures of the figures (only a PDF needs them): %s", reason)
        return None

    def _running(self) -> "Kaleido":
        """The browser, started if need be."""
        if self._browser is None:
            import kaleido

            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                Thread(target=self._loop.run_forever, daemon=True).start()
                atexit.register(self._close)
            # Without this, kaleido's page loads MathJax from a CDN.
            self._browser = kaleido.Kaleido(page_generator=kaleido.PageGenerator(mathjax=False))
            self._within_limit(self._browser.open())
        return self._browser

    def _within_limit(self, work: Coroutine) -> bytes | None:
        """Wait for work in the browser's thread; raises TimeoutError when it takes too long."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(self._limit)
        except TimeoutError:
            future.cancel()
            raise TimeoutError(f"the browser did not answer within {self._limit:g} seconds") from None

    def _close(self) -> None:
        if self._browser is not None:
            try:
                self._within_limit(self._browser.close())
            except Exception:  # the process ends; there is nobody left to tell
                self._kill()

    def _kill(self) -> None:
        """End the processes of a browser that failed; kaleido's watchdog then removes its files."""
        browser, self._browser = self._browser, None
        with suppress(AttributeError, ProcessLookupError):  # it was never started, or is gone already
            os.killpg(browser.subprocess.pid, signal.SIGKILL)
