#!/bin/sh
# An installed sniffio stops anyio in callbacks of asyncio's loop.
#
# Seen with anyio 4.14.0 to 4.16.0 and sniffio 1.3.1 on CPython 3.11: under plain `asyncio.run`, a
# callback of the loop (call_soon, add_reader, a protocol's method) may call `start_soon` of a task
# group. Once sniffio is installed, which nothing has to import, the same program ends that call with
# NoEventLoopError ("Not currently running on any asynchronous event loop"). Under `anyio.run` it goes
# on working, unless the callback runs in a context of its own. anyio 4.13.0 worked either way.
#
# Why: where sniffio can be imported, anyio asks it and nothing else which library runs, and sniffio
# says asyncio only inside a task; where it cannot, anyio looks for a running loop. sniffio comes with
# trio and other packages, so what fails depends on what else is installed beside a program.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
python="$place/venv/bin/python"

cat > "$place/program.py" <<'PROGRAM'
import asyncio
import contextvars
import sys
import warnings

import anyio

warnings.simplefilter("ignore")
seen = []


async def job():
    seen.append("ran")


async def main():
    async with anyio.create_task_group() as tasks:

        def callback():
            try:
                tasks.start_soon(job)
            except Exception as error:
                seen.append(type(error).__name__)

        context = contextvars.Context() if "own-context" in sys.argv else None
        asyncio.get_running_loop().call_soon(callback, context=context)
        await asyncio.sleep(0.05)


if "anyio" in sys.argv:
    anyio.run(main)
else:
    asyncio.run(main())
print(*seen)
PROGRAM

is() {  # what is wanted, then how the program is called
    wanted=$1
    shift
    got=$("$python" "$place/program.py" "$@")
    echo "anyio $anyio, sniffio $sniffio, ${*:-asyncio}: $got"
    [ "$got" = "$wanted" ] || { echo "seen before: $wanted" >&2; exit 1; }
}

install() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }

sniffio=none anyio=4.16.0
install anyio==4.16.0
is ran
is ran anyio own-context
sniffio=1.3.1
install sniffio==1.3.1
is NoEventLoopError
is ran anyio
is NoEventLoopError anyio own-context
anyio=4.14.0
install anyio==4.14.0
is NoEventLoopError
anyio=4.13.0
install anyio==4.13.0
is ran
