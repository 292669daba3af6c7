"""Real servers for tests, each on a free loopback port, started and stopped by whoever asks for them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S, wait_until


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def need(*programs: str) -> list[str]:
    """Paths of programs; skips where one is missing, and fails where CI asks for all."""
    # RabbitMQ's own script first: the one on the path changes to another user.
    places = ["/usr/lib/rabbitmq/bin", *os.environ.get("PATH", "").split(":"), "/usr/sbin", *_postgres()]
    found = [shutil.which(name, path=":".join(places)) for name in programs]
    missing = [name for name, path in zip(programs, found, strict=True) if path is None]
    if missing:
        text = f"{', '.join(missing)} not installed; tests/install_servers.sh installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)
    return [str(path) for path in found]


def _postgres() -> list[str]:
    return [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


class Server:
    """A process that listens on a port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> Sequence[str]:
        raise AssertionError("each server has its own")

    def environment(self) -> dict[str, str]:
        return {}

    def is_ready(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 10):
            return True

    def start(self) -> None:
        def is_up() -> bool:
            # After a kill, what it left (PostgreSQL's children hold its memory) may keep it from starting for a moment.
            if self.process is None or self.process.poll() is not None:
                self.process = spawn(self.folder, *self.command(), **self.environment())
            return self.is_ready()

        wait_for(is_up, lambda: read_tail(self.folder / "log"))

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """As a power cut does it."""
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        self.kill()

    def restart(self) -> None:
        self.kill()
        self.start()


def spawn(folder: Path, *words: str, **environment: str) -> subprocess.Popen:
    """Start a process whose output goes to the folder's log."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            words, stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
        )


def read_tail(path: Path) -> str:
    """The end of a log, for an error message."""
    return path.read_text(errors="replace")[-2000:] if path.exists() else ""


def wait_for(is_ready: Callable[[], bool], explain: Callable[[], str] = str) -> None:
    """Return as soon as something answers; what it raises meanwhile means that it does not yet."""

    def answers() -> bool:
        try:
            return is_ready()
        except (OSError, subprocess.SubprocessError):
            return False

    wait_until(answers, explain)


class Redis(Server):
    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        (program,) = need("redis-server")
        where = "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)
        return [program, *where, "--appendonly", "yes", "--save", ""]


class RabbitMQ(Server):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.dist, self.epmd = free_port(), free_port()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def command(self) -> Sequence[str]:
        return need("rabbitmq-server")

    def environment(self) -> dict[str, str]:
        (self.folder / "plugins").write_text("[].")
        (self.folder / "r.conf").write_text("disk_free_limit.absolute = 1MB\n")
        return {
            "RABBITMQ_NODENAME": f"f{self.port}@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port), "RABBITMQ_DIST_PORT": str(self.dist),
            "ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": str(self.epmd),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"), "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "r.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"), "HOME": str(self.folder),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }  # fmt: skip

    def is_ready(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.settimeout(10)
            sock.sendall(b"AMQP\x00\x00\x09\x01")
            return len(sock.recv(8)) > 0

    def stop(self) -> None:
        self.kill()
        # Its name service is a process of its own, known by the port that its environment names.
        wanted = f"ERL_EPMD_PORT={self.epmd}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                continue


class PostgreSQL(Server):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.data = self.folder
        self.as_other: list[str] = []

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://facefusion@127.0.0.1:{self.port}/postgres"

    def command(self) -> Sequence[str]:
        initdb, postgres = need("initdb", "postgres")
        if os.getuid() == 0 and not self.as_other:  # it refuses to be root
            # Not under pytest's folder: every other pytest that begins shuts that to all other users again.
            self.data = Path(tempfile.mkdtemp(prefix="facefusion-postgres-", dir="/tmp"))
            shutil.chown(self.data, "postgres", "postgres")
            self.as_other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        cluster = self.data / "cluster"
        if not cluster.exists():
            made = self.data / "made"
            shutil.rmtree(made, ignore_errors=True)
            subprocess.run(
                [*self.as_other, initdb, "-D", str(made), "-U", "facefusion", "-A", "trust", "--no-sync"],
                check=True, capture_output=True, cwd="/",
            )  # fmt: skip
            made.rename(cluster)  # one that was half made would start, too
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        return [*self.as_other, postgres, "-D", str(cluster), "-p", str(self.port), "-h", "127.0.0.1", "-k", "", "-F"]

    def is_ready(self) -> bool:
        import psycopg

        try:
            psycopg.connect(
                f"host=127.0.0.1 port={self.port} user=facefusion dbname=postgres", connect_timeout=10
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        super().stop()
        if self.data != self.folder:
            shutil.rmtree(self.data, ignore_errors=True)


class Ceph(Server):
    """A Ceph of one monitor, one OSD and a RADOS gateway: a real S3."""

    KEYS = ("facefusiontestkey", "facefusiontestsecret")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.mon_port = free_port()
        self.parts: list[subprocess.Popen] = []

    @property
    def environment_of_clients(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.KEYS[0], "AWS_SECRET_ACCESS_KEY": self.KEYS[1], "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        }  # fmt: skip

    def start(self) -> None:
        mon, osd, gateway, admin, monmap, _ = need(
            "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph"
        )
        conf, fsid = self.folder / "ceph.conf", "7b3cf4a2-1c5e-4a34-9d7e-1a2b3c4d5e6f"
        address = f"[v1:127.0.0.1:{self.mon_port}]"
        conf.write_text(f"""[global]
fsid = {fsid}
mon_host = {address}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_allow_pool_delete = true
osd_crush_chooseleaf_type = 0
ms_bind_msgr2 = false
public_addr = 127.0.0.1
run_dir = {self.folder}
admin_socket = {self.folder}/$name.asok
pid_file = {self.folder}/$name.pid
log_file = {self.folder}/$name.log
mon_data = {self.folder}/mon
osd_data = {self.folder}/osd
osd_objectstore = bluestore
bluestore_block_size = 4294967296
bluestore_fsck_on_mount = false
osd_memory_target = 939524096
mon_data_avail_crit = 1
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 1000
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{self.port}
rgw_data = {self.folder}/rgw
""")

        def run(*words: str) -> str:
            done = subprocess.run(
                [*words, "-c", str(conf)],
                check=True,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                cwd=self.folder,
            )
            return done.stdout

        def start(*words: str) -> None:
            self.parts.append(spawn(self.folder, *words, "-c", str(conf), "-f"))

        for name in ("mon", "osd", "rgw"):
            (self.folder / name).mkdir(exist_ok=True)
        subprocess.run(
            [monmap, "--create", "--addv", "a", address, "--fsid", fsid, str(self.folder / "monmap")],
            check=True, capture_output=True,
        )  # fmt: skip
        run(mon, "--mkfs", "-i", "a", "--monmap", str(self.folder / "monmap"))
        start(mon, "-i", "a")
        wait_for(
            lambda: bool(run("ceph", "--connect-timeout", "60", "osd", "new", "1b3cf4a2-1c5e-4a34-9d7e-1a2b3c4d5e60"))
        )
        run(osd, "-i", "0", "--mkfs", "--osd-uuid", "1b3cf4a2-1c5e-4a34-9d7e-1a2b3c4d5e60")
        start(osd, "-i", "0")

        def is_up() -> bool:
            # Now and then the monitor refuses its first call ("wrong fsid"), and the OSD leaves.
            if self.parts[-1].poll() is not None:
                self.parts.pop()
                start(osd, "-i", "0")
            return " 1 up" in run("ceph", "osd", "stat")

        wait_for(is_up, lambda: read_tail(self.folder / "osd.0.log"))
        start(gateway, "-n", "client.rgw")
        wait_for(self._answers, lambda: read_tail(self.folder / "log"))
        keys = "--access-key", self.KEYS[0], "--secret-key", self.KEYS[1]
        run(admin, "-n", "client.rgw", "user", "create", "--uid", "t", "--display-name", "t", *keys)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}", timeout=10).close()
        except urllib.error.HTTPError as error:
            error.close()
        return True

    def make_bucket(self, name: str) -> None:
        import boto3
        from botocore.config import Config

        boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.port}", aws_access_key_id=self.KEYS[0],
            aws_secret_access_key=self.KEYS[1], region_name="us-east-1", config=Config(s3={"addressing_style": "path"}),
        ).create_bucket(Bucket=name)  # fmt: skip

    def stop(self) -> None:
        for part in reversed(self.parts):
            if part.poll() is None:
                os.killpg(part.pid, signal.SIGKILL)
            part.wait()
        self.parts.clear()
