"""Modules that are loaded at their first use: they are what they would have been, for whoever asks, whenever."""

from __future__ import annotations

import subprocess
import sys

BEGIN = """
import sys, threading
from tricord.homeserver.later import load_later
"""


def run(code: str) -> None:
    """Run code in a process that has loaded nothing yet."""
    subprocess.run([sys.executable, "-W", "error", "-c", BEGIN + code], check=True)


def test_an_import_alone_loads_nothing_and_the_first_use_everything() -> None:
    run("""
load_later("configparser")
import configparser
assert "ConfigParser" not in vars(configparser)
from configparser import ConfigParser
assert ConfigParser is configparser.ConfigParser
assert configparser is sys.modules["configparser"] and type(configparser) is type(sys)
assert "NoSuchThing" not in dir(configparser) and not hasattr(configparser, "NoSuchThing")
""")


def test_a_name_that_it_does_not_have_is_missed_as_ever() -> None:
    run("""
load_later("configparser")
import configparser
try:
    configparser.nonsense
except AttributeError as error:
    assert str(error) == "module 'configparser' has no attribute 'nonsense'", error
else:
    raise AssertionError
try:
    from configparser import nonsense
except ImportError:
    pass
else:
    raise AssertionError
""")


def test_of_a_package_no_more_is_loaded_than_the_part_that_has_it() -> None:
    run("""
load_later("asyncio", parts={"Event": "locks"})
import asyncio
event = asyncio.Event
assert "asyncio.locks" in sys.modules and "asyncio.base_events" not in sys.modules
import asyncio.queues
assert "asyncio.base_events" not in sys.modules
async def told():
    heard = event()
    asyncio.get_running_loop().call_soon(heard.set)
    return await heard.wait()
assert asyncio.run(told())
assert asyncio.Event is event is sys.modules["asyncio.locks"].Event
from asyncio import *
assert Event is event and type(asyncio) is type(sys)
""")


def test_a_module_of_a_package_can_be_imported_first() -> None:
    run("""
load_later("asyncio", parts={"Event": "locks"})
from asyncio.base_events import BaseEventLoop
from asyncio import base_events, Future
assert base_events.BaseEventLoop is BaseEventLoop and Future is base_events.futures.Future
""")


def test_threads_that_ask_at_once_all_find_it_whole() -> None:
    run("""
sys.setswitchinterval(1e-6)
load_later("ssl")
import ssl
found, together = [], threading.Barrier(8)
def ask():
    together.wait()
    found.append(ssl.get_server_certificate)
threads = [threading.Thread(target=ask) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
assert len(found) == 8 and len(set(found)) == 1
""")


def test_what_is_loaded_already_stays_and_what_is_missing_is_missed() -> None:
    run("""
import configparser
load_later("configparser")
assert vars(configparser)["ConfigParser"] and sys.modules["configparser"] is configparser
load_later("not_installed_anywhere")
try:
    import not_installed_anywhere
except ModuleNotFoundError:
    pass
else:
    raise AssertionError
""")


def test_a_module_that_fails_is_tried_again() -> None:
    run("""
import pathlib, tempfile
with tempfile.TemporaryDirectory() as folder:
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    file = pathlib.Path(folder, "wanted.py")
    file.write_text("raise OSError('not today')")
    load_later("wanted")
    import wanted
    try:
        wanted.answer
    except OSError:
        pass
    else:
        raise AssertionError
    file.write_text("answer = 42")
    assert wanted.answer == 42
""")
