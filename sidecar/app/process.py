"""The process: what its parts stand on, the parts, and their life from start to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable, Sequence

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Info

from exporters.formats import make_formats
from exporters.page import SyntheticPage
from sidecar import __version__
from sidecar.api.request_log import request_logger
from sidecar.api.tls import server_context
from sidecar.app.explain import Explaining
from sidecar.app.feedback import Tasting
from sidecar.app.freed_memory import FreedMemory, collect, share_arenas
from sidecar.app.ground import Ground
from sidecar.app.http import endpoints
from sidecar.app.open_files import LoopErrors, allow_open_files
from sidecar.app.reloading import ReloadMetrics, Reloads, waits_for_restart
from sidecar.app.response import Responding, link_secret
from sidecar.app.upkeep import Upkeep
from sidecar.app.workings import Workings, WorkingsMetrics
from sidecar.config.load import config_hash
from sidecar.config.model import Config
from sidecar.errors import ConfigError, StoreError
from sidecar.events import Event
from sidecar.loop.journal import Journal
from sidecar.loop.warming import Warming, judge_once
from sidecar.loop.watch import Watch
from sidecar.prometheus.session import PullMetrics
from sidecar.store.folder_lock import FolderLock
from sidecar.store.leftovers import remove_leftovers
from sidecar.store.registry import open_store
from sidecar.telemetry import get_logger, new_registry
from webhooks.pipeline import AlertsLoop

STOP_SECONDS = 2.0
"""How long open requests may take to end when the process stops."""

LOCK_SECONDS = 4.0
"""How long all of stopping may wait for a database that another process has locked."""

COLLECT_AFTER = (10_000, 10, 100)
"""Garbage collection: label sets and episodes live long; walking them all often would pause every request."""


class Sidecar:
    """The process that `pronoia run` is.

    `load` reads the configuration anew for a reload; `on_stop` is called once when it is told to stop.
    """

    def __init__(
        self,
        config: Config,
        *,
        load: Callable[[], Config],
        on_stop: Callable[[], None] = lambda: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._load = load
        self._on_stop = on_stop
        self._wall = wall
        self._log = get_logger("app")
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._reloads = Reloads(self.reload, self._under_way)
        self._compiling: Callable[[], bool] = lambda: False
        self._workings: Workings

    async def run(self) -> int:
        """Serve until told to stop; the process' exit code."""
        gc.set_threshold(*COLLECT_AFTER)
        share_arenas()
        allow_open_files()
        asyncio.get_running_loop().set_exception_handler(LoopErrors())
        self._listen_to_signals()
        lock = FolderLock(self._config.store.directory)
        try:
            async with self._reloading:  # What is asked for meanwhile is done when all has begun.
                runner = await self._begin(lock)
            if runner is None:
                return 1
            await self._stop.wait()
            self._ground.store.end_within(LOCK_SECONDS)
            async with self._reloading:  # What is under way is done; nothing begins anew.
                await self._end(runner)
            return 0
        finally:
            lock.release()

    async def _begin(self, lock: FolderLock) -> web.AppRunner | None:
        """Serve and watch; None where folder or address cannot be had, and then all is ended."""
        try:
            await asyncio.to_thread(lock.take)
            await self._tidy()
            await self._build()
        except StoreError as error:
            self._log.error("the data folder cannot be used; see pronoia db status", err=str(error))
            return None
        runner = await self._serve()
        if runner is None:
            await self._alerts.stop()
            await self._ground.close()
            return None
        await asyncio.to_thread(watch_over_kernels, self._ground.registry)
        await self._workings.start()
        self._explaining.start()
        self._tasting.start()
        self._upkeep.start()
        self._freed_memory.start()
        self._warming.start()
        return runner

    async def _end(self, runner: web.AppRunner) -> None:
        """Answer what is under way, store what is known, end."""
        self._log.info("stopping")
        await self._warming.stop()
        await self._freed_memory.stop()
        await self._upkeep.stop()
        await runner.cleanup()  # No more requests; those under way get their answer.
        await self._alerts.stop()
        await self._workings.stop()
        await self._explaining.stop()
        await self._tasting.stop()
        await self._ground.close()

    def stop(self) -> None:
        """Let `run` end."""
        if not self._stop.is_set():
            self._stop.set()
            self._on_stop()

    async def reload(self) -> None:
        """Read the configuration and run with it.

        Raises: ConfigError, and then the old one runs on.
        """
        async with self._reloading:
            try:
                config = await asyncio.to_thread(self._load)
            except ConfigError as error:
                self._reload_metrics.failed()
                self._log.error("configuration not usable, keeping the old one", err=str(error))
                raise
            for section in waits_for_restart(self._config, config):
                self._log.warning("this section takes effect at the next start", section=section)
            await self._replace(config)
            self._reload_metrics.succeeded(self._wall())
            self._log.info("configuration reloaded", config_hash=config_hash(config))
            self._ground.bus.publish(
                Event("config.reloaded", self._wall(), {"config_hash": config_hash(config)})
            )

    def _under_way(self) -> str:
        if self._compiling():
            return "what is compiled for this machine, once"
        return "what is begun already, such as learning from history"

    async def _replace(self, config: Config) -> None:
        """Run the loops that another configuration describes."""
        before = self._workings
        await before.stop()
        self._config = config
        await self._responding.reconfigure(config)
        self._workings = self._make_workings(before=before.metrics_loop.shown)
        self._workings.behaviour.take_over(before.behaviour)
        await self._workings.start()

    async def _tidy(self) -> None:
        """Give back what a process before this one took of the disk and could not finish."""
        n_bytes = await asyncio.to_thread(remove_leftovers, self._config.store.directory)
        if n_bytes:
            self._log.info("what a killed process left half-written is removed", bytes=n_bytes)

    async def _build(self) -> None:
        """Make every part, and take up what the store remembers.

        Raises: StoreError.
        """
        config = self._config
        self._ground = ground = await self._make_ground()
        self._reload_metrics = ReloadMetrics(ground.registry)
        self._workings_metrics = WorkingsMetrics(ground.registry)
        self._responding = Responding(
            config,
            ground,
            alerts=lambda: self._alerts,
            secret=await link_secret(config.response, ground.store),
        )
        self._alerts = AlertsLoop(
            ground.store,
            bus=ground.bus,
            config=config.webhook,
            registry=ground.registry,
            teller=self._responding,
            now=ground.wall,
        )
        await self._alerts.open()
        journal = Journal(config.store.directory / "models")
        self._tasting = Tasting(journal, ground, watches=self._watches)
        self._explaining = Explaining(
            journal,
            ground,
            config=lambda: self._config,
            watches=self._watches,
            client=lambda: self._workings.client,
            said=self._tasting.words,
        )
        self._upkeep = Upkeep(
            ground,
            models=config.store.directory / "models",
            watched=lambda: [watch.query.name for watch in self._watches()],
            now=self._earlier_now,
        )
        self._freed_memory = FreedMemory(ground.registry)
        self._warming = Warming(
            [warm_decoder, ground.page.warm, judge_once, collect], registry=ground.registry
        )
        self._compiling = lambda: self._warming.under_way
        self._workings = self._make_workings()

    async def _make_ground(self) -> Ground:
        config, registry = self._config, new_registry()
        ground = Ground(
            registry=registry,
            store=await open_store(config.store, registry=registry),
            page=SyntheticPage(
                max_series=config.export.max_series,
                registry=registry,
                formats=make_formats(config.export.formats, config.export.extra_labels),
            ),
            wall=self._wall,
            pull_metrics=PullMetrics(registry),
        )
        Info("pronoia_build", "The running version.", registry=registry).info({"version": __version__})
        Gauge(
            "pronoia_events_dropped",
            "Events that slow readers of the live stream lost since the start.",
            registry=registry,
        ).set_function(lambda: float(ground.bus.dropped_total))
        return ground

    def _make_workings(self, before: Sequence[Watch] = ()) -> Workings:
        return Workings(
            self._config,
            self._ground,
            metrics=self._workings_metrics,
            explaining=self._explaining,
            tasting=self._tasting,
            alerts=self._alerts,
            responding=self._responding,
            before=before,
        )

    def _watches(self) -> Sequence[Watch]:
        return self._workings.metrics_loop.watches

    def _earlier_now(self) -> float:
        """Of our clock and the source's the one that is behind."""
        return min(self._wall(), self._workings.clock.now())

    async def _serve(self) -> web.AppRunner | None:
        """Answer requests from now on; None where the address cannot be had."""
        config = self._config
        app = endpoints(
            config,
            self._ground,
            alerts=self._alerts,
            responding=self._responding,
            explaining=self._explaining,
            tasting=self._tasting,
            warming=self._warming,
            workings=lambda: self._workings,
            reload=self._reloads.ask,
            quit_process=self.stop,
        )
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=request_logger(),
            auto_decompress=False,  # On the event loop, a small body would unpack to gigabytes.
            shutdown_timeout=STOP_SECONDS,
            handler_cancellation=False,
        )
        await runner.setup()
        host, _, port = config.server.listen.rpartition(":")
        try:
            context = server_context(config.server.tls)
        except OSError as error:
            self._log.error("files of server.tls cannot be used", err=str(error))
            await runner.cleanup()
            return None
        try:
            await web.TCPSite(runner, host.strip("[]") or None, int(port), ssl_context=context).start()
        except OSError as error:
            self._log.error(
                "cannot listen; is another pronoia running? name another address with --listen",
                listen=config.server.listen,
                err=error.strerror or str(error),
            )
            await runner.cleanup()
            return None
        self._reload_metrics.succeeded(self._wall())
        self._log.info(
            "serving",
            listen=config.server.listen,
            version=__version__,
            prometheus=config.prometheus.url,
            config_hash=config_hash(config),
        )
        if config.server.open_to_all:
            self._log.warning("whoever reaches the port may act on incidents; name users in server.access")
        return runner

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

        loop.add_signal_handler(signal.SIGHUP, self._reloads.begin)
        # `pronoia run` has held them back until there is somebody to hear.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def watch_over_kernels(registry: CollectorRegistry) -> None:
    """Survive troubles of compiled code on disk, before the first of it is asked for."""
    from sidecar.loop.kernel_cache import KernelCache

    KernelCache(registry).watch_over()


def warm_decoder() -> None:
    """Compile or load what decodes answers."""
    from sidecar.prometheus import scan

    scan.warm()
