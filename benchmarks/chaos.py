"""Does a cluster lose anything? Many jobs on two workers, with workers, broker and database broken at random moments.

    python benchmarks/chaos.py [--seeds 100] [--broker rabbitmq|redis] [--storage s3|folder]

A clip of a minute in 12 segments; real RabbitMQ or Redis, PostgreSQL, and Ceph's S3 or a folder, started here on loopback
(tests/install_servers.sh installs them). For each seed two workers are killed with SIGKILL, the broker and the database are
killed and started again, all at random moments. The output must be the same to the byte as that of a single process,
every item must have been tried as often as its history says, and nothing may be left behind.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.chaos import Cluster, make_minute, render_alone, run_seed
from tests.servers import Ceph, PostgreSQL, RabbitMQ, Redis


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first seed")
    parser.add_argument("--broker", choices=("rabbitmq", "redis"), default="rabbitmq")
    parser.add_argument("--storage", choices=("s3", "folder"), default="s3")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facefusion-chaos-") as name:
        folder = Path(name)
        clip = make_minute(folder / "minute.mp4")
        wanted = render_alone(clip, folder)
        broker = (RabbitMQ if arguments.broker == "rabbitmq" else Redis)(folder / "broker")
        database, servers, environment = PostgreSQL(folder / "database"), [], {}
        url = (folder / "files").as_uri()
        try:
            for server in (broker, database):
                server.start()
                servers.append(server)
            if arguments.storage == "s3":
                ceph = Ceph(folder / "ceph")
                servers.append(ceph)
                ceph.start()
                ceph.make_bucket("chaos")
                environment, url = ceph.environment_of_clients, "s3://chaos/jobs"
                os.environ.update(environment)
            cluster = Cluster(folder / "cluster", broker, database, url, environment)
            reports, failures = [], []
            for seed in range(arguments.first, arguments.first + arguments.seeds):
                try:
                    report = run_seed(cluster, seed, clip, wanted)
                except AssertionError as error:
                    failures.append(seed)
                    print(f"seed {seed}: FAILED: {error}", flush=True)
                    continue
                reports.append(report)
                print(
                    f"seed {seed}: {report.seconds:5.1f} s, {report.kills} workers killed, "
                    f"{report.tries - report.items} of {report.items} items tried again",
                    flush=True,
                )
            cluster.stop_workers()
        finally:
            for server in reversed(servers):
                server.stop()
    total = len(reports) + len(failures)
    again = sum(report.tries - report.items for report in reports)
    print(f"\n{len(reports)} of {total} jobs complete with the right bytes; failed seeds: {failures or 'none'}")
    print(
        f"{sum(r.kills for r in reports)} workers killed, {again} items tried again of {sum(r.items for r in reports)}"
    )
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
