"""Supervisor (supervisord) as a library: its configuration, its start, its answers.

It restarts what crashes, rotates logs and stops process groups; none of that is ours to write.
"""

import shlex
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from deploy.local.tether import tethered

_CONFIG = """\
[supervisord]
nodaemon=true
silent=true
logfile={log_dir}/supervisord.log
logfile_maxbytes=5MB
pidfile={run_dir}/supervisord.pid
childlogdir={log_dir}

[unix_http_server]
file={control_socket}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

# startsecs/startretries: four starts that do not last a second are a broken service (FATAL); a
# service that dies later is restarted for ever. stopwaitsecs: the worker flushes before it leaves.
_PROGRAM = """
[program:{name}]
command={command}
directory={directory}
environment={environment}
autostart=false
autorestart=true
startsecs=1
startretries=3
stopsignal=TERM
stopwaitsecs=15
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=1
"""

_CONTROL_WITHIN_S = 15.0


class SupervisorGone(RuntimeError):
    """The supervisor does not run or does not answer."""


def program_section(name: str, argv: list[str], env: Mapping[str, str], directory: Path, log: Path) -> str:
    """One service in supervisord's configuration. Every service dies with the supervisor (tether)."""
    return _PROGRAM.format(
        name=name,
        command=_escape(shlex.join(tethered(argv))),
        directory=_escape(str(directory)),
        environment=_escape(",".join(f'{key}="{_quoted(value)}"' for key, value in env.items())),
        log=_escape(str(log)),
    )


def write_config(path: Path, log_dir: Path, control_socket: Path, programs: list[str]) -> None:
    head = _CONFIG.format(
        log_dir=_escape(str(log_dir)), run_dir=_escape(str(path.parent)), control_socket=_escape(str(control_socket))
    )
    path.write_text(head + "".join(programs))


def _escape(text: str) -> str:
    return text.replace("%", "%%")  # its configuration expands %(…)s


def _quoted(value: str) -> str:
    if '"' in value or "\n" in value:
        raise ValueError(f"an environment value for a service may not hold a quote or a newline: {value!r}")
    return value


class Supervisor:
    """Control of a running supervisord through its socket."""

    def __init__(self, control_socket: Path) -> None:
        self._control_socket = control_socket
        transport = SupervisorTransport(None, None, f"unix://{control_socket}")
        self._api: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    @staticmethod
    def launch(config: Path, control_socket: Path, is_tethered: bool, log: Path) -> subprocess.Popen[bytes]:
        """Start supervisord and wait until it answers. Raises SupervisorGone with the reason."""
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)]
        with log.open("ab") as output:
            process = subprocess.Popen(
                tethered(command) if is_tethered else command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the person's own command
            )
        deadline = time.monotonic() + _CONTROL_WITHIN_S
        while not _answers(control_socket):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise SupervisorGone(f"supervisord did not start; see {log}:\n{log.read_text()[-2000:]}")
            time.sleep(0.02)
        return process

    def call(self, method: str, *arguments: object) -> Any:
        """One call of its XML-RPC API. Raises SupervisorGone; a Fault is the caller's to read."""
        try:
            return getattr(self._api, method)(*arguments)
        except (OSError, xmlrpc.client.ProtocolError) as error:
            raise SupervisorGone(f"supervisord at {self._control_socket} does not answer: {error}") from error

    def start(self, name: str) -> None:
        self.call("startProcess", name, False)

    def stop(self, name: str) -> None:
        """Stop and stay stopped; returns when it is gone."""
        self.call("stopProcess", name, True)

    def info(self, name: str) -> dict[str, Any]:
        """statename, pid (0 if it does not run), spawnerr, …"""
        found: dict[str, Any] = self.call("getProcessInfo", name)
        return found


def _answers(control_socket: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(control_socket))
        except OSError:
            return False
    return True
