"""Runs the shared scenario and the shared vectors with the Python client.

Environment: LUCKY_URL, LUCKY_NETWORK_URL (control of the network), LUCKY_CONFORMANCE (folder).
"""

import asyncio
import os
import pathlib
import sys

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from play import Play  # noqa: E402
from vectors import check_vector  # noqa: E402


async def main() -> int:
    folder = pathlib.Path(os.environ["LUCKY_CONFORMANCE"])
    read = lambda name: yaml.safe_load((folder / name).read_text("utf-8"))  # noqa: E731
    passed = 0
    play = Play(os.environ["LUCKY_URL"], os.environ["LUCKY_NETWORK_URL"])
    title = ""
    try:
        for vector in read("vectors.yaml"):
            title = f'vector "{vector["title"]}"'
            check_vector(vector)
            passed += 1
            print("ok", passed, title)
        for step in read("scenario.yaml"):
            title = f'step "{step["title"]}"'
            await play.step(step)
            passed += 1
            print("ok", passed, title)
    except Exception as error:  # noqa: BLE001 Any failure fails the run.
        print(f"{title}: {error!r}", file=sys.stderr)
        return 1
    finally:
        await play.end()
    if passed == 0:
        print("no step ran", file=sys.stderr)
        return 1
    print(f"{passed} passed, 0 failed")
    return 0


sys.exit(asyncio.run(main()))
