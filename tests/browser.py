"""A headless Chromium, spoken to through chromedriver's own HTTP protocol, and a folder served."""

import contextlib
import functools
import http.server
import json
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request

_FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
    --disable-dev-shm-usage --window-size=1000,800
"""
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def missing_programs():
    """What a test in a browser needs and this machine lacks, as words; empty if nothing."""
    chromium = next(filter(shutil.which, _NAMES), None)
    needed = {"npm": "npm", "chromedriver": "chromedriver", "chromium": chromium}
    return ", ".join(name for name, found in needed.items() if not (found and shutil.which(found)))


@contextlib.contextmanager
def serve(folder):
    """Serves a folder on this machine alone; gives its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Browser:
    """A session of chromedriver.

    Args:
        profile: An empty folder for the browser's own files.
    """

    def __init__(self, profile):
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            self._address = f"http://127.0.0.1:{self._port()}"
            binary = next(filter(None, map(shutil.which, _NAMES)))
            options = {"binary": binary, "args": [*_FLAGS.split(), f"--user-data-dir={profile}"]}
            wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
            session = self._call("POST", "/session", {"capabilities": wanted})["sessionId"]
            self._address += f"/session/{session}"
        except BaseException:
            self._end()
            raise

    def close(self):
        """Ends browser and driver."""
        with contextlib.suppress(urllib.error.URLError):
            self._call("DELETE", "", None)
        self._end()

    def open(self, address):
        """Goes to a page."""
        self._call("POST", "/url", {"url": address})

    def run(self, body, *arguments):
        """The result of the body of an asynchronous JavaScript function of these arguments."""
        script = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...args) => {{ {body} }})(...arguments)"
            ".then((value) => done([true, value]), (error) => done([false, String(error)]));"
        )
        fine, value = self._call(
            "POST", "/execute/async", {"script": script, "args": list(arguments)}
        )
        if not fine:
            raise RuntimeError(value)
        return value

    def wait(self, condition, patience=60):
        """Until a JavaScript expression is true."""
        deadline = time.monotonic() + patience
        while not self.run(f"return Boolean({condition});"):
            if time.monotonic() > deadline:
                raise TimeoutError(self.run("return document.body.innerText;"))
            time.sleep(0.05)

    def draw(self, points):
        """Presses the mouse at the first of the points, given in the window, and moves on."""
        moves = [
            {"type": "pointerMove", "duration": 20, "x": round(x), "y": round(y)} for x, y in points
        ]
        press, release = ({"type": f"pointer{way}", "button": 0} for way in ("Down", "Up"))
        mouse = {
            "type": "pointer",
            "id": "mouse",
            "actions": [moves[0], press, *moves[1:], release],
        }
        self._call("POST", "/actions", {"actions": [mouse]})

    def _port(self):
        for line in self._driver.stdout:
            if "started successfully on port" in line:
                return int(line.rstrip().rstrip(".").split()[-1])
        raise RuntimeError("chromedriver did not start")

    def _call(self, method, path, content):
        request = urllib.request.Request(
            self._address + path,
            method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(json.load(error)["value"]["message"]) from None

    def _end(self):
        self._driver.terminate()
        self._driver.wait()
        self._driver.stdout.close()
