"""A real Milvus server in a folder, without Docker, for demos and tests.

PyPI's ``milvus`` wheel (2.3.5, Linux x86-64; the extra ``[local]``) contains the server. Use it as a context manager::

    with LocalMilvus() as milvus:
        os.environ["AIRFLOW_CONN_MILVUS_REST_DEFAULT"] = milvus.connection_json()

or around a command: see ``python -m airflow_provider_milvus_rest.testing --help``.
"""

from __future__ import annotations

import base64
import ctypes
import fcntl
import importlib.util
import itertools
import json
import logging
import lzma
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO
from uuid import uuid4

import yaml

from airflow_provider_milvus_rest.testing.certificates import Certificates

if TYPE_CHECKING:
    from pymilvus import MilvusClient

HOST = "127.0.0.1"
PASSWORD = "local-secret"
TOKEN = f"root:{PASSWORD}"
"""User and password. With Milvus's default password, "Milvus", Airflow would mask that word in every log."""
_DEFAULT_PASSWORD = "Milvus"
NO_PROXY = {
    name: ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost"))) for name in ("NO_PROXY", "no_proxy")
}
"""Environment variables that make requests to a local server bypass proxies."""
_LOG = logging.getLogger(__name__)
_COMPONENTS = ("rootCoord", "proxy", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode")


class LocalMilvusError(RuntimeError):
    """The server cannot run here, or did not start."""


@dataclass
class MilvusAddress:
    """A server to test against: its address and credentials.

    :param uri: where REST is served.
    :param token: ``user:password``, an API key, or empty.
    :param grpc_uri: where gRPC is served, if elsewhere.
    :param certificates: the certificates of a :class:`LocalMilvus` with TLS.
    :param mutual: whether the server asks clients for a certificate.
    :param api_version: the version of the REST API, for the Airflow connection.
    """

    uri: str
    token: str = ""
    grpc_uri: str = ""
    certificates: Certificates | None = None
    mutual: bool = False
    api_version: str = "v1"

    @classmethod
    def from_environment(cls) -> MilvusAddress | None:
        """The server named by ``MILVUS_REST_TEST_URI``, ``…_TOKEN`` and ``…_API_VERSION`` (default v1), or None."""
        uri, token = os.environ.get("MILVUS_REST_TEST_URI"), os.environ.get("MILVUS_REST_TEST_TOKEN", "")
        version = os.environ.get("MILVUS_REST_TEST_API_VERSION") or "v1"
        return cls(uri, token, api_version=version) if uri else None

    def connection(self) -> dict[str, Any]:
        """The Airflow connection's fields."""
        fields: dict[str, Any] = {"conn_type": "milvus_rest", "host": self.uri}
        login, colon, password = self.token.partition(":")
        if self.token:
            fields |= {"login": login, "password": password} if colon else {"password": self.token}
        extra = {"api_version": self.api_version} if self.api_version != "v1" else {}
        if files := self.certificates:
            extra["verify"] = str(files.ca)
            if self.mutual:
                extra |= {"client_cert": str(files.client_cert), "client_key": str(files.client_key)}
        return fields | ({"extra": extra} if extra else {})

    def connection_json(self) -> str:
        """The Airflow connection as JSON, for an ``AIRFLOW_CONN_…`` variable."""
        return json.dumps(self.connection())

    def client(self, db_name: str = "") -> MilvusClient:
        """A pymilvus client, to create collections and read rows back."""
        from pymilvus import MilvusClient

        tls: dict[str, Any] = {}
        if files := self.certificates:
            tls = {"secure": True, "server_name": "localhost"}
            if self.mutual:
                pems = {"client_pem_path": files.client_cert, "client_key_path": files.client_key}
                tls |= {name: str(path) for name, path in (pems | {"ca_pem_path": files.ca}).items()}
            else:
                tls["server_pem_path"] = str(files.ca)
        return MilvusClient(uri=self.grpc_uri or self.uri, token=self.token, db_name=db_name, **tls)


class LocalMilvus(MilvusAddress):
    """One Milvus server, with its data in ``folder`` and on its own ports. Several can run at the same time.

    :param folder: where configuration, log and data go. A later server in the same folder has the same data, and
        the same ports if they are free. Default: a temporary folder, removed at the end.
    :param port: where REST is served (gRPC too, without TLS); default: any free port.
    :param auth: whether the server requires credentials (``root`` and ``local-secret``, also in ``token``).
    :param tls: whether REST and gRPC use TLS, with certificates made for this server; ``"mutual"`` also requires
        client certificates.
    :param start_timeout: seconds to wait until the server is healthy. The first start on a machine also unpacks the
        server (250 MB, into ``airflow-provider-milvus-rest`` in ``$XDG_CACHE_HOME`` or ``~/.cache``).

    The proxy, which serves REST and gRPC, and Milvus's internal components listen on all interfaces: 2.3.5 has no
    setting for this. etcd listens on the loopback interface.

    The kernel ends the server when the *thread* that started it ends, so that no server is left running.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        port: int | None = None,
        auth: bool = True,
        tls: bool | Literal["mutual"] = False,
        start_timeout: float = 120,
    ) -> None:
        super().__init__(uri="", token=TOKEN if auth else "", mutual=tls == "mutual")
        self._temporary = folder is None
        self.folder = Path(folder or Path(tempfile.gettempdir()) / f"local-milvus-{uuid4().hex}").absolute()
        self.start_timeout = start_timeout
        self._port = port
        self._tls = bool(tls)
        self._health_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: TextIO | None = None

    def __enter__(self) -> LocalMilvus:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, or start it again on the same data and ports, and wait until it is healthy.

        :raises LocalMilvusError: there is no server for this platform, or it did not become healthy in time.
        """
        if self._process is not None:
            raise LocalMilvusError("This server is already running.")
        try:
            data = _wheel_data()
            binaries = _unpack(data)
            if not self.uri:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock_folder()
                if self._tls:
                    self.certificates = Certificates.make(self.folder / "certificates")
                self._write_config(data)
            self._run(binaries)
            if self.token:
                self._set_password()
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """Kill the server, as a crash would. Acknowledged rows are not lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            # Milvus writes a file for each process outside its folder.
            Path(f"/tmp/milvus/server_id_{self._process.pid}").unlink(missing_ok=True)
            self._process = None

    def restart(self) -> None:
        """Kill the server, and start it again on the same data and ports."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Stop the server, and remove its folder if it is temporary.

        It is killed as in :meth:`kill`: after a SIGTERM, Milvus may keep accepting connections without ever responding.
        """
        self.kill()
        self.uri = self.grpc_uri = ""
        if self._lock is not None:
            self._lock.close()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, binaries: Path) -> None:
        environment = os.environ | {
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._health_port),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
            "LD_LIBRARY_PATH": str(binaries),
        }
        with (self.folder / "milvus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [binaries / "milvus", "run", "standalone"],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )
        deadline = time.monotonic() + self.start_timeout
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LocalMilvusError(f"Milvus did not become healthy. The end of its log:\n{self._log_tail()}")
            time.sleep(0.1)

    def _healthy(self) -> bool:
        connection = HTTPConnection(HOST, self._health_port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return b"OK" in connection.getresponse().read()
        except (HTTPException, OSError):
            return False
        finally:
            connection.close()

    def _lock_folder(self) -> None:
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalMilvusError(f"Another server uses the folder {self.folder}. Choose another one.") from None

    def _set_password(self) -> None:
        """Set the password. Milvus refuses every old one until it has loaded its users, shortly after it is healthy."""
        done, deadline = self.folder / "password-is-set", time.monotonic() + self.start_timeout
        if done.exists():
            return
        while not (self._change_password(_DEFAULT_PASSWORD) or self._change_password(PASSWORD)):
            if time.monotonic() > deadline:
                raise LocalMilvusError("The password could not be set: the data in the folder has another one.")
            time.sleep(0.2)
        done.touch()

    def _change_password(self, old: str) -> bool:
        """Set the password through the API of the health port, which needs neither TLS nor a login.

        :return: whether ``old`` is the current password.
        :raises LocalMilvusError: the password could not be set for another reason.
        """
        body = {"username": "root"}
        for name, text in (("oldPassword", old), ("newPassword", PASSWORD)):
            body[name] = base64.b64encode(text.encode()).decode()
        connection = HTTPConnection(HOST, self._health_port, timeout=30)
        try:
            connection.request("PATCH", "/api/v1/credential", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse().read().decode()
        except (HTTPException, OSError) as error:
            raise LocalMilvusError(f"The password could not be set: {error!r}.") from error
        finally:
            connection.close()
        if "old password not correct" in answer:
            return False
        if json.loads(answer) and old != PASSWORD:  # else nothing changes: it may be an error about a killed proxy
            raise LocalMilvusError(f"The password could not be set: {answer}")
        return True

    def _log_tail(self) -> str:
        return (self.folder / "milvus.log").read_text(errors="replace")[-2000:]

    def _ports(self, count: int) -> Iterator[int]:
        """The ports of the folder's last server, if they are free: Milvus looks for its components there for 20 s."""
        saved = self.folder / "ports.json"
        ports = json.loads(saved.read_text()) if saved.exists() else []
        if not ports or not all(map(_is_free, ports)):
            ports = list(free_ports(count))
            saved.write_text(json.dumps(ports))
        return iter(ports)

    def _write_config(self, data: Path) -> None:
        """Write the wheel's template with our folder and ports. etcd has its own file."""
        template = (data / "config.yaml.template").read_text()
        config = yaml.safe_load(re.sub(r"\{\{[^}:]*:?([^}]*)\}\}", lambda match: match[1].strip() or "null", template))
        ports = self._ports(len(_COMPONENTS) + 5)
        for component in _COMPONENTS:
            config[component] |= {"ip": HOST, "port": next(ports)}
        self._health_port = next(ports)
        config["proxy"]["internalPort"] = next(ports)
        config["common"]["security"]["authorizationEnabled"] = bool(self.token)
        if self._port and not _is_free(self._port):
            raise LocalMilvusError(f"Port {self._port} is already in use, or not allowed. Choose another one.")
        port = self._port or next(ports)
        if files := self.certificates:  # with TLS, Milvus serves REST on a separate port
            config["proxy"]["http"]["port"] = port
            config["common"]["security"]["tlsMode"] = 2 if self.mutual else 1
            pems = {"serverPemPath": files.server_cert, "serverKeyPath": files.server_key, "caPemPath": files.ca}
            config["tls"] = {name: str(path) for name, path in pems.items()}
            self.uri, self.grpc_uri = f"https://{HOST}:{port}", f"https://localhost:{config['proxy']['port']}"
        else:
            config["proxy"]["port"] = port
            self.uri = self.grpc_uri = f"http://{HOST}:{port}"
        config["common"]["session"]["ttl"] = 10  # seconds until a killed server is forgotten; 30 slows down restarts
        config["localStorage"]["path"] = str(self.folder / "data")
        config["rocksmq"]["path"] = str(self.folder / "rocksmq")
        config["log"]["file"]["rootPath"] = ""  # log only to stdout, which goes to milvus.log
        etcd_data, etcd_config = str(self.folder / "etcd"), self.folder / "configs" / "etcd.yaml"
        client, peer = f"http://{HOST}:{next(ports)}", f"http://{HOST}:{next(ports)}"
        config["etcd"] |= {"endpoints": client.removeprefix("http://"), "config": {"path": str(etcd_config)}}
        config["etcd"]["data"]["dir"] = etcd_data
        config["etcd"]["log"]["path"] = str(self.folder / "etcd.log")
        etcd_config.parent.mkdir(parents=True, exist_ok=True)
        etcd_config.write_text(
            yaml.safe_dump(
                {
                    "name": "default",
                    "data-dir": etcd_data,
                    "listen-client-urls": client,
                    "advertise-client-urls": client,
                    "listen-peer-urls": peer,
                    "initial-advertise-peer-urls": peer,
                    "initial-cluster": f"default={peer}",
                }
            )
        )
        (self.folder / "configs" / "milvus.yaml").write_text(yaml.safe_dump(config))
        shutil.copy(data / "glog.conf", self.folder / "configs")


def _wheel_data() -> Path:
    spec = importlib.util.find_spec("milvus")
    if spec is None or not spec.submodule_search_locations:
        raise LocalMilvusError(
            "The 'milvus' wheel is not installed: install this package with its extra [local]. It exists "
            "only for Linux on x86-64. Elsewhere, set MILVUS_REST_TEST_URI to the address of your own server."
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _unpack(data: Path) -> Path:
    """Return the folder of the server's binaries, which are unpacked once per machine and user."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airflow-provider-milvus-rest"
    archives = sorted((data / "bin").glob("*.lzma"))
    folder = cache / f"milvus-{sum(archive.stat().st_size for archive in archives)}"
    if folder.exists():
        return folder
    _LOG.info("Unpacking the server (250 MB, once per user) into %s …", cache)
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="unpacking-", dir=cache))
    try:
        for archive in archives:
            target = partial / archive.stem
            with lzma.open(archive) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            target.chmod(0o755)
        partial.rename(folder)  # atomic, so that no process finds half of it
    except OSError:
        if not folder.exists():  # no other process has unpacked it either
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


_LIBC = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """Make the kernel kill the server when this process is killed, so that it is not left running."""
    _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError, OverflowError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignores the remains of earlier connections
        probe.bind(("", port))
        return True
    return False


_TAKEN = itertools.count()


def free_ports(count: int) -> Iterator[int]:
    """Return ports that are free now, from below the range used for outgoing connections.

    Each process starts at another port, so that two of them do not choose the same ports at the same time.
    """
    sockets: list[socket.socket] = []
    while len(sockets) < count:
        candidate = socket.socket()
        try:
            candidate.bind(("", 15_000 + (os.getpid() * 1009 + next(_TAKEN)) % 17_000))
            sockets.append(candidate)
        except OSError:
            candidate.close()
    ports = [candidate.getsockname()[1] for candidate in sockets]
    for candidate in sockets:
        candidate.close()
    return iter(ports)
