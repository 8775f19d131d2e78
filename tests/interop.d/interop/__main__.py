"""Runs the scenarios at the named brokers, or at all, and prints what came of them as a table."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from interop import raw
from interop.broker import Broker
from interop.ejabberd import Ejabberd
from interop.mosquitto import Mosquitto
from interop.nats import Nats
from interop.rabbitmq import RabbitMq
from interop.rmqtt import Rmqtt
from interop.scenarios import SCENARIOS, Cast, Outcome
from interop.stage import Stage
from kit import PROGRAMS, TARGET

BROKERS: dict[str, type[Broker]] = {broker.name: broker for broker in (Mosquitto, Ejabberd, RabbitMq, Nats, Rmqtt)}

RESULTS = TARGET / "interop"


async def run(broker: Broker, root: Path, wanted: list[str]) -> dict[str, Outcome]:
    """All scenarios at one broker. One that fails in itself is an outcome too."""
    stage = Stage(broker, root)
    stage.version = raw.V5 if await raw.speaks_5(broker) else raw.V311
    outcomes: dict[str, Outcome] = {}
    try:
        cast = Cast(stage, await stage.user("alice"), await stage.user("bob"))
        for scenario in SCENARIOS:
            name = scenario.__name__
            if wanted and name not in wanted:
                continue
            begin = time.monotonic()
            outcome: Outcome | None
            try:
                for user in (cast.alice, cast.bob):
                    if not user.client.status.is_connected:
                        await user.reconnect()
                outcome = await scenario(cast)
            except Exception as error:
                traceback.print_exc()
                outcome = Outcome(False, f"stopped: {error}".splitlines()[0])
            if outcome is None:
                continue
            outcomes[name] = outcome
            seconds = time.monotonic() - begin
            print(f"{broker.name:10} {name:18} {seconds:6.1f} s  {outcome.words}", file=sys.stderr, flush=True)
            record(broker, name, outcome, seconds)
    finally:
        await stage.end()
    return outcomes


def record(broker: Broker, name: str, outcome: Outcome, seconds: float) -> None:
    """A line in the broker's file."""
    line = {
        "broker": broker.name,
        "version": broker.version(),
        "imd": imd_version(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "scenario": name,
        "good": outcome.is_good,
        "outcome": outcome.words,
        "seconds": round(seconds, 1),
    }
    with (RESULTS / f"{broker.name}.jsonl").open("a") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def imd_version() -> str:
    """As the daemon prints it."""
    return subprocess.run([PROGRAMS / "imd", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def table(columns: dict[str, dict[str, Outcome]], versions: dict[str, str]) -> str:
    """In Markdown: a row for each scenario, a column for each broker."""
    lines = [
        "| | " + " | ".join(f"{name} {versions[name]}" for name in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for scenario in SCENARIOS:
        name = scenario.__name__
        cells = [outcomes.get(name) for outcomes in columns.values()]
        if any(cells):
            words = ["" if cell is None else f"{'' if cell.is_good else '✗ '}{cell.words}" for cell in cells]
            lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(words) + " |")
    lines.append("| **as imd wants it** | " + " | ".join(map(passed, columns.values())) + " |")
    return "\n".join(lines)


def passed(outcomes: dict[str, Outcome]) -> str:
    """How many of a broker's scenarios came out as imd wants them, and which did not."""
    failed = [name.replace("_", " ") for name, outcome in outcomes.items() if not outcome.is_good]
    words = f"{len(outcomes) - len(failed)} of {len(outcomes)}"
    return f"{words}; not {', '.join(failed)}" if failed else words


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="./tests/interop", description=__doc__)
    parser.add_argument("brokers", metavar="BROKER", nargs="*", help=", ".join(BROKERS))
    parser.add_argument("--only", metavar="SCENARIO", action="append", default=[])
    arguments = parser.parse_args()
    if unknown := set(arguments.brokers) - set(BROKERS):
        parser.error(f"no such broker: {', '.join(sorted(unknown))}")
    # Asked to end, it ends its brokers and daemons too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    RESULTS.mkdir(parents=True, exist_ok=True)
    columns: dict[str, dict[str, Outcome]] = {}
    versions: dict[str, str] = {}
    for name in arguments.brokers or BROKERS:
        # The name is short: a socket's path must fit in 107 bytes.
        with tempfile.TemporaryDirectory(prefix="imd-") as root:
            directory = Path(root, "broker")
            directory.mkdir()
            broker = BROKERS[name](directory)
            versions[name], columns[name] = "", {}
            try:
                broker.start()
                versions[name] = broker.version()
                columns[name] = asyncio.run(run(broker, Path(root), arguments.only))
            except Exception as error:
                # The others have their turn all the same.
                traceback.print_exc()
                columns[name] = {"login": Outcome(False, f"does not run: {error}".splitlines()[0])}
            finally:
                broker.kill9()
                (RESULTS / f"{name}.log").write_text(broker.log())
                for log in Path(root).glob("d*/log"):
                    (RESULTS / f"{name}-{log.parent.name}.log").write_bytes(log.read_bytes())
    print(table(columns, versions))


if __name__ == "__main__":
    main()
