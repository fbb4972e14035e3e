"""The embedded stack: all services of the platform on one machine, without Docker.

    python -m deploy.local.stack up|down|status [--var DIR] [--services valkey,broker,…]

`up` leaves it running. `running(...)` is the same for tests: a subset of the services, on free
ports, for as long as a `with` block lasts.
"""

import contextlib
import shutil
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import psutil

from deploy.local.ports import choose_ports, held_ports
from deploy.local.probes import NotReady, wait_until
from deploy.local.services import ADDRESSES, CATALOGUE, ROOT, Context, Service, base_env
from deploy.local.state import StackState, read_state, state_path, write_state
from deploy.local.supervision import Supervisor, SupervisorGone, program_section, write_config

_STOP_WITHIN_S = 20.0
_LOG_TAIL_LINES = 25


class ServiceFailed(RuntimeError):
    """A service did not become ready; the message ends with the last lines of its log."""


class ServiceMissing(ValueError):
    """A chosen service needs another that is neither chosen nor given by its address."""


@dataclass
class Stack:
    """A running stack. env: what a process needs to use it (KAFKA_BOOTSTRAP_SERVERS, REDIS_URL, FRAUD_VAR_DIR, …)."""

    services: tuple[Service, ...]
    context: Context
    supervisor: Supervisor
    process: psutil.Process
    control_socket: Path

    @property
    def env(self) -> dict[str, str]:
        return self.context.env

    def service(self, name: str) -> Service:
        return next(service for service in self.services if service.name == name)

    def log(self, name: str) -> Path:
        return log_path(self.context.var_dir, name)

    def pid(self, name: str) -> int:
        """Its process now; another one after each restart, 0 while there is none."""
        return int(self.supervisor.info(name)["pid"])

    def state(self, name: str) -> str:
        """RUNNING, STARTING, BACKOFF, STOPPED, EXITED or FATAL."""
        return str(self.supervisor.info(name)["statename"])

    def stop(self, name: str) -> None:
        """Stop one service (SIGTERM, then SIGKILL) and leave it stopped."""
        self.supervisor.stop(name)

    def start(self, name: str) -> None:
        """Start one service and wait until it is ready. Raises ServiceFailed."""
        self.launch(name)
        self.wait_ready(name)

    def launch(self, name: str) -> None:
        service = self.service(name)
        service.prepare(self.context)
        self.context.launched_s[name] = time.time()
        self.supervisor.start(name)

    def wait_ready(self, name: str) -> None:
        """Also for a service that was killed and is being restarted. Raises ServiceFailed."""
        service = self.service(name)
        try:
            probe = service.probe(self.context) if service.probe else lambda: self._check_settled(name)
            wait_until(probe, service.ready_within_s, lambda: self._check_alive(name))
        except NotReady as reason:
            raise ServiceFailed(
                f"{name} was not ready within {service.ready_within_s:g} s: {reason}\n{self._log_tail(name)}"
            ) from reason

    def _check_settled(self, name: str) -> None:
        if (state := self.state(name)) != "RUNNING":
            raise NotReady(f"its process is {state}")

    def _check_alive(self, name: str) -> None:
        info = self.supervisor.info(name)
        if info["statename"] in ("FATAL", "EXITED", "STOPPED"):
            raise ServiceFailed(
                f"{name} does not stay up ({info['statename']}) {info['spawnerr']}\n{self._log_tail(name)}"
            )

    def _log_tail(self, name: str) -> str:
        path = self.log(name)
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return f"last lines of {path}:\n" + "\n".join(f"  | {line}" for line in lines[-_LOG_TAIL_LINES:])


def log_path(var_dir: Path, name: str) -> Path:
    return var_dir / "logs" / f"{name}.log"


@contextlib.contextmanager
def running(
    services: Iterable[str | Service], var_dir: Path, extra_env: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """Some services, ready, on free ports, until the block ends; killed with this process if it dies.

    services: names of services.CATALOGUE, or entries of one's own. extra_env: for all of them and for `stack.env`; an address
    given here (KAFKA_BOOTSTRAP_SERVERS, REDIS_URL) stands for a service that is not started.
    Raises ServiceFailed.
    """
    chosen = tuple(CATALOGUE[service] if isinstance(service, str) else service for service in services)
    with held_ports(len(chosen)) as ports:
        stack = start_supervisor(chosen, var_dir.absolute(), ports, extra_env or {}, is_tethered=True)
        try:
            start_all(stack)
            yield stack
        finally:
            shut_down(stack.process, stack.control_socket)


def start_supervisor(
    services: tuple[Service, ...], var_dir: Path, ports: list[int], extra_env: Mapping[str, str], is_tethered: bool
) -> Stack:
    """Supervisord with all services configured and none started. Raises ServiceMissing."""
    _check_needs(services, extra_env)
    context = Context(var_dir, dict(zip([s.name for s in services], ports, strict=True)), {**base_env(var_dir)})
    for service in services:
        context.env.update(service.provides(context))
    context.env.update(extra_env)
    run_dir, log_dir = context.dir("run"), context.dir("logs")
    # A socket's path may have about 100 bytes, and var may lie anywhere.
    control_socket = Path(tempfile.mkdtemp(prefix="fraud-stack-")) / "control"
    config = run_dir / "supervisord.conf"
    programs = [
        program_section(
            service.name,
            service.argv(context),
            context.env,
            ROOT,
            log_path(var_dir, service.name),
        )
        for service in services
    ]
    write_config(config, log_dir, control_socket, programs)
    process = Supervisor.launch(config, control_socket, is_tethered, log_dir / "supervisord.out")
    return Stack(services, context, Supervisor(control_socket), psutil.Process(process.pid), control_socket)


def _check_needs(services: tuple[Service, ...], extra_env: Mapping[str, str]) -> None:
    names = {service.name for service in services}
    for service in services:
        for need in service.needs:
            address = ADDRESSES.get(need)
            if need not in names and address not in extra_env:
                otherwise = f", or set {address}" if address else ""
                raise ServiceMissing(f"{service.name} needs {need}: start it too{otherwise}")


def start_all(stack: Stack, tell: Callable[[str], None] = lambda _: None, but: Container[str] = ()) -> None:
    """Each service once those it needs are ready; independent ones together. Raises ServiceFailed.

    but: services to leave alone, for they run already, or shall not yet.
    """
    chosen = [service for service in stack.services if service.name not in but]
    names = [service.name for service in chosen]
    order = TopologicalSorter({service.name: [need for need in service.needs if need in names] for service in chosen})
    order.prepare()
    while order.is_active():
        batch = order.get_ready()
        for name in batch:
            stack.launch(name)
        for name in batch:
            stack.wait_ready(name)
            tell(f"{name:<18} ready  {stack.service(name).url(stack.context)}")
        order.done(*batch)


def shut_down(supervisor: psutil.Process, control_socket: Path, *, servers_last: bool = False) -> None:
    """Stop the supervisor's processes, then itself; and nothing that it did not start.

    servers_last: where data stays. A worker whose broker is gone cannot say how far it has read, and reads that again next time.

    Everything is named before anything is stopped, since a grandchild (a Dagster run) loses its
    parent on the way. psutil compares creation times, so a reused pid is never hit.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        descendants = supervisor.children(recursive=True)
        if servers_last:
            _stop_users(Supervisor(control_socket))
        _ask_to_stop(Supervisor(control_socket))
        left_over = psutil.wait_procs(descendants, timeout=_STOP_WITHIN_S)[1]
        # With nothing left to guard it need not be asked, which would take it a second.
        for process in (supervisor, *left_over):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs([supervisor, *left_over], timeout=5)
    shutil.rmtree(control_socket.parent, ignore_errors=True)


def _stop_users(supervisor: Supervisor) -> None:
    """Everything but the servers that others use, and wait for it."""
    stopping = _ask_to_stop(supervisor, but=ADDRESSES)
    psutil.wait_procs(stopping, timeout=_STOP_WITHIN_S)


def _ask_to_stop(supervisor: Supervisor, but: Container[str] = ()) -> list[psutil.Process]:
    """Ask and do not wait; the processes that were asked."""
    asked = []
    with contextlib.suppress(SupervisorGone):
        for info in supervisor.call("getAllProcessInfo"):
            if info["name"] in but:
                continue
            with contextlib.suppress(xmlrpc.client.Fault, psutil.NoSuchProcess):  # it does not run
                supervisor.call("stopProcess", info["name"], False)
                asked.append(psutil.Process(info["pid"]))
    return asked


# -- left running ---------------------------------------------------------------------------------


def up(
    names: Iterable[str],
    var_dir: Path,
    extra_env: Mapping[str, str],
    tell: Callable[[str], None],
    prepare: Callable[[Stack], None] = lambda _: None,
) -> Stack:
    """Start services on their usual ports, or on others where those are taken, and leave them running.

    prepare: what the others find when they start; called once the servers (ADDRESSES) are ready. A stack that already runs in `var_dir` is returned as it is. Raises ServiceFailed, with
    everything stopped again; and as it is, if the one in `var_dir` runs in part.
    """
    var_dir = var_dir.absolute()
    existing = attach(var_dir)
    if existing is not None:
        tell(f"already running in {var_dir}")
        states = {service: existing.state(service.name) for service in existing.services}
        for service, state in states.items():
            tell(f"{service.name:<18} {state.lower():<6} {service.url(existing.context)}")
        ended = [service.name for service, state in states.items() if state not in ("RUNNING", "STARTING")]
        if ended:
            raise ServiceFailed(
                f"{', '.join(ended)}: not running, for `up` was cut off or they have ended (logs in {var_dir / 'logs'})."
                " Run `make down`, then `make up` again: it goes on with what is there."
            )
        return existing
    chosen = tuple(CATALOGUE[name] for name in names)
    ports = choose_ports(service.preferred_port for service in chosen)
    stack = start_supervisor(chosen, var_dir, ports, extra_env, is_tethered=False)
    write_state(
        var_dir,
        StackState(
            pid=stack.process.pid,
            create_time_s=stack.process.create_time(),
            control_socket=str(stack.control_socket),
            services=[service.name for service in chosen],
            ports=dict(stack.context.ports),
            env=stack.env,
        ),
    )
    try:
        start_all(stack, tell, but=set(stack.context.ports) - set(ADDRESSES))
        prepare(stack)
        start_all(stack, tell, but=ADDRESSES)
    except BaseException:
        down(var_dir)
        raise
    return stack


def attach(var_dir: Path) -> Stack | None:
    """The stack that `up` left running in `var_dir`, None if there is none (any more)."""
    state = read_state(var_dir.absolute())
    supervisor = state.supervisor() if state else None
    if state is None or supervisor is None:
        return None
    control_socket = Path(state.control_socket)
    return Stack(
        services=tuple(CATALOGUE[name] for name in state.services),
        context=Context(var_dir.absolute(), state.ports, state.env),
        supervisor=Supervisor(control_socket),
        process=supervisor,
        control_socket=control_socket,
    )


def down(var_dir: Path) -> bool:
    """Stop what `up` started in `var_dir`; whether there was anything to stop. Data stays."""
    stack = attach(var_dir)
    if stack is not None:
        shut_down(stack.process, stack.control_socket, servers_last=True)
    state_path(var_dir.absolute()).unlink(missing_ok=True)
    return stack is not None


if __name__ == "__main__":
    # Here, because the command line imports this module.
    from deploy.local.cli import main

    main()
