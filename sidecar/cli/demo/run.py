"""The demo from start to stop: folder, history, servers, incident, story, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from sidecar.cli.demo.backfill import HISTORY_DAYS, write_history
from sidecar.cli.demo.children import Child, ChildDied, stop_all
from sidecar.cli.demo.live import LivePage
from sidecar.cli.demo.observe import follow_events, follow_pages
from sidecar.cli.demo.platform import Incident, Platform
from sidecar.cli.demo.servers import (
    Ports,
    live_target,
    make_children,
    prepare_folder,
    pronoia_document,
    write_files,
)
from sidecar.cli.demo.story import Places, Story
from sidecar.cli.demo.terminal import Terminal
from sidecar.errors import SidecarError

SETTLE_SECONDS = 15.0
"""Between the first score and the incident, so that a viewer has seen the calm."""

RULE_PATIENCE_SECONDS = 60.0
"""So long the incident waits for the adaptive rule to be loaded; then it happens all the same."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line may change."""

    directory: Path
    incident: bool = True
    incident_after_seconds: float = 60.0
    incident_seconds: float = 150.0
    duration_seconds: float | None = None
    once: bool = False
    days: float = HISTORY_DAYS


async def run_demo(options: Options, programs: Mapping[str, str], terminal: Terminal) -> int:
    """Run until told to stop; the exit code. Every process that it started is gone when it returns.

    0 when stopped by the user, after the time given, or with the story told; 1
    when a server died, or the time ran out before the story that was asked for was told.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    demo = _Demo(options, programs, terminal)
    main = asyncio.create_task(demo.run(stop))
    stopping = asyncio.create_task(stop.wait())
    try:
        limit = options.duration_seconds
        await asyncio.wait({main, stopping}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if main.done():
            main.result()
        elif not stop.is_set() and options.once:
            terminal.fault(f"the story was not told within {limit:.0f} s; it had come to: {demo.last_beat}")
            return 1
        return 0
    except SidecarError as error:
        if not stop.is_set():
            terminal.fault(str(error))
            return 1
        return 0
    finally:
        for task in (main, stopping):
            task.cancel()
        await asyncio.gather(main, stopping, return_exceptions=True)
        await demo.close()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


class _Demo:
    def __init__(self, options: Options, programs: Mapping[str, str], terminal: Terminal) -> None:
        self._options, self._programs, self._terminal = options, programs, terminal
        self._children: dict[str, Child] = {}
        self._page: LivePage | None = None
        self._story: Story | None = None
        self._directory: Path | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = threading.Event()

    @property
    def last_beat(self) -> str:
        """The beat that was told last, for a message."""
        told = list(self._story.told) if self._story else []
        return told[-1] if told else "nothing yet"

    async def run(self, stop: asyncio.Event) -> None:
        """Start all, tell the story, then stay until cancelled (or, with `once`, until it is told)."""
        began = time.monotonic()
        directory = self._directory = prepare_folder(self._options.directory)
        ports = Ports.choose()
        platform = Platform(time.time())
        write_files(directory, ports, self._programs["promtool"], platform.anchor_seconds)
        self._children = make_children(directory, ports, self._programs)
        urls = {name: child.url for name, child in self._children.items()}
        live = f"http://127.0.0.1:{ports.platform}"
        places = Places(urls["prometheus"], urls["alertmanager"], urls["pronoia"], live, directory / "rules")
        n_queries = len(pronoia_document(directory, ports, "", platform.anchor_seconds)["queries"])
        story = self._story = Story(self._terminal, places, n_queries=n_queries)
        self._terminal.title(f"pronoia demo · all of it is in {directory} · Ctrl-C stops everything")

        self._page = LivePage(platform)
        await self._page.start(ports.platform)
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for name in ("node_exporter", "alertmanager"):
                self._children[name].start()
            written = await asyncio.to_thread(
                write_history, platform, directory=directory, tsdb=directory / "tsdb",
                promtool=self._programs["promtool"], days=self._options.days, scraped=live_target(ports),
                given_up=self._closing.is_set,
            )  # fmt: skip
            self._children["prometheus"].start()
            await self._children["prometheus"].wait_healthy(session)
            story.backfilled(written.n_series, written.n_samples, self._options.days, written.elapsed_seconds)
            await self._children["alertmanager"].wait_healthy(session)
            self._children["pronoia"].start()
            await self._children["pronoia"].wait_healthy(session)
            self._spawn(follow_events(session, places.pronoia, story))
            story.up()
            self._spawn(follow_pages(session, places.prometheus, places.pronoia, story))
            if self._options.incident:
                self._spawn(self._break(platform, story, began))
            await self._watch(story)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _break(self, platform: Platform, story: Story, began: float) -> None:
        """Inject the incident, once there is a calm to disturb and a rule to catch it."""
        await story.reached("scored")
        calm = began + story.told["scored"] + SETTLE_SECONDS
        await asyncio.sleep(max(began + self._options.incident_after_seconds, calm) - time.monotonic())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(story.reached("rule"), RULE_PATIENCE_SECONDS)
        platform.incident = Incident(time.time(), self._options.incident_seconds)
        story.injected(self._options.incident_seconds)

    async def _watch(self, story: Story) -> None:
        """See that the children live; say the last word when the story is complete."""
        finished = False
        while True:
            for child in self._children.values():
                child.check()
            for task in self._tasks:
                if task.done() and task.exception() is not None:
                    raise ChildDied(f"the demo's own {task.get_coro()} broke off: {task.exception()!r}")
            if story.complete and not finished:
                finished = True
                if self._options.once:
                    return
                self._terminal.note("That was the story; all goes on living. Look around, then press Ctrl-C.")
            await asyncio.sleep(0.25)

    async def close(self) -> None:
        """Stop everything that was started and name what stays."""
        self._closing.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Blocking is right here: nothing else may run on, and no thread may own a child's death.
        stop_all([child for child in self._children.values() if child.started])
        with contextlib.suppress(Exception):
            if self._page is not None:
                await self._page.stop()
        if self._directory is not None and self._children:
            self._terminal.note(f"All stopped. What is left is {self._directory} (rm -r it when you like).")
        self._terminal.save()
