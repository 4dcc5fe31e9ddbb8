"""A headless Chromium for the tests and benchmarks of the page: Debian's, driven by Selenium."""

import base64
import json
import shutil
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

AXE = Path(__file__).parent / "reporting" / "axe" / "axe.min.js"
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


def chromium_is_here() -> bool:
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


class Browser:
    """A browser window; its requests and console errors are collected."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in (*FLAGS, "--hide-scrollbars"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # Network events only: those of frames are many and unused.
        options.add_experimental_option("perfLoggingPrefs", {"enablePage": False})
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options, service)
        self.driver.set_script_timeout(60)
        self.driver.get("about:blank")  # a browser that is still starting may not give its logs

    def close(self) -> None:
        self.driver.quit()

    def open(self, page: Path) -> None:
        self.driver.get(page.absolute().as_uri())
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is painted."""
        self.driver.execute_async_script(
            "const done = arguments[0];"
            "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)))"
        )

    def until(self, script: str) -> None:
        """Wait until a script gives something true."""
        WebDriverWait(self.driver, 30).until(lambda driver: driver.execute_script(script))

    def still(self) -> None:
        """Wait until two screenshots are the same: charts follow the size of the window late."""
        before, now = None, self.driver.get_screenshot_as_base64()
        while before != now:
            time.sleep(0.5)
            before, now = now, self.driver.get_screenshot_as_base64()

    def js(self, script: str, *values: object) -> object:
        return self.driver.execute_script(script, *values)

    def size(self, width: int, height: int) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        self.settle()

    def dark(self, wanted: bool) -> None:
        """What the system prefers."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if wanted else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.settle()

    def screenshot(self, path: Path) -> None:
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        path.write_bytes(base64.b64decode(shot["data"]))

    def faults(self) -> list[tuple[str, list[str]]]:
        """Serious and critical faults that axe finds in what is shown."""
        self.js(AXE.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run({preload: false}).then(done)"
        )
        assert found["passes"]  # it did look
        return [
            (fault["id"], [node["html"] for node in fault["nodes"]])
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
        ]

    def complaints(self) -> list[str]:
        """Everything on the console since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses asked for since the last time."""
        events = [json.loads(entry["message"]) for entry in self.driver.get_log("performance")]
        return [
            event["message"]["params"]["request"]["url"]
            for event in events
            if event["message"]["method"] == "Network.requestWillBeSent"
        ]
