"""Make the pictures of the screens in docs: the real program in a pseudo-terminal, its screens drawn as they stand, and
its report in a browser.

python benchmarks/make_assets/record_screens.py [--output docs]

play.gif: the agent that the package carries plays a game. replay.png: a step of what it recorded. report.png: its
greedy play and a search compared; report_phone.png: one of them on a phone, dark. Needs pyte, Pillow and Chromium.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import matplotlib
import pyte
from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS = 116, 30
CELL = 9, 19
BACKGROUND, INK = "#101418", "#d8dee4"
COLOURS = {
    "black": "#3b4252",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "white": "#eceff4",
}
GAME = ["--split", "generated_unseen", "--seed", "3"]


class Terminal:
    """A program on a pseudo-terminal of fixed size."""

    def __init__(self, *command: str, cwd: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oreo_agents", *command],
            **dict.fromkeys(("stdin", "stdout", "stderr"), slave),
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
        os.close(slave)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.master, keys.encode())

    def watch(self, quiet: float, most: float = 120.0) -> list[Image.Image]:
        """The screens until the program has ended, or has said something and then nothing for ``quiet`` seconds."""
        screens, shown, begun, changed = [], None, time.monotonic(), time.monotonic()
        while time.monotonic() - begun < most:
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.stream.feed(os.read(self.master, 65_536))
                except OSError:
                    break
                continue
            now = [line.rstrip() for line in self.screen.display]
            if now != shown and any(now):
                screens.append(draw_screen(self.screen))
                shown, changed = now, time.monotonic()
            elif screens and time.monotonic() - changed > quiet:
                break
        return screens

    def close(self) -> None:
        """End the program."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def load_font(bold: bool) -> ImageFont.FreeTypeFont:
    """The monospaced font that matplotlib carries."""
    name = "DejaVuSansMono-Bold.ttf" if bold else "DejaVuSansMono.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, 15)


def name_colour(of_cell: str, usual: str) -> str:
    """A terminal's colour as ``#rrggbb``; bright ones are drawn as the others, but for grey."""
    if of_cell == "default":
        return usual
    bright = {"brightblack": "#7f8c98", "brightbrown": COLOURS["brown"]}
    return bright.get(of_cell) or COLOURS.get(of_cell.removeprefix("bright")) or f"#{of_cell}"


def draw_screen(screen: pyte.Screen) -> Image.Image:
    """A screen as a picture, cell by cell."""
    width, height = CELL
    image = Image.new("RGB", (COLUMNS * width + 20, ROWS * height + 20), BACKGROUND)
    draw, fonts = ImageDraw.Draw(image), (load_font(False), load_font(True))
    for row in range(ROWS):
        for column, cell in screen.buffer[row].items():
            ink, paper = name_colour(cell.fg, INK), name_colour(cell.bg, BACKGROUND)
            if cell.reverse:
                ink, paper = paper, ink
            left, top = 10 + column * width, 10 + row * height
            if paper != BACKGROUND:
                draw.rectangle((left, top, left + width, top + height), fill=paper)
            if cell.data.strip():
                draw.text((left, top), cell.data, fill=ink, font=fonts[cell.bold])
    return image


def run_program(*command: str, cwd: str) -> None:
    """A command that has to succeed."""
    subprocess.run([sys.executable, "-m", "oreo_agents", *command], cwd=cwd, check=True)


def picture_page(page: Path, picture: Path, size: tuple[int, int], dark: bool = False) -> None:
    """A page as Chromium shows it."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=5000"]
    flags += [f"--window-size={size[0]},{size[1]}", f"--screenshot={picture}"]
    flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
    subprocess.run([browser, *flags, page.as_uri()], check=True, stderr=subprocess.DEVNULL)
    with Image.open(picture) as drawn:
        drawn.quantize(128, dither=Image.Dither.NONE).save(picture, optimize=True)


def picture_report(output: Path, folder: Path) -> None:
    """Two runs of the shipped agent on the same games, and the report about them."""
    games = ["--agent", "small", "--split", "generated_unseen", "-n", "60"]
    run_program("record", *games, "--select", "greedy", "-o", "greedy", cwd=str(folder))
    run_program(
        "record", *games, "--select", "best_of_k", "--temperature", "2", "-o", "best-of-5", cwd=str(folder)
    )
    run_program("report", "greedy", "best-of-5", "-o", "two.html", cwd=str(folder))
    run_program("report", "best-of-5", "-o", "one.html", cwd=str(folder))
    picture_page(folder / "two.html", output / "report.png", (1280, 800))
    picture_page(folder / "one.html", output / "report_phone.png", (500, 850), dark=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "docs")
    output = parser.parse_args().output.resolve()
    with tempfile.TemporaryDirectory() as folder:
        choice = ["--agent", "small", "--select", "best_of_k", "--temperature", "2"]
        terminal = Terminal("play", *choice, *GAME, "--record", "episodes", cwd=folder)
        screens = terminal.watch(quiet=15)
        terminal.type("q")  # which records the episode
        terminal.watch(quiet=15)
        terminal.close()
        palette = screens[-1].quantize(64)
        frames = [screen.quantize(palette=palette, dither=Image.Dither.NONE) for screen in screens]
        durations = [1_200] * (len(frames) - 1) + [4_000]
        frames[0].save(
            output / "play.gif",
            save_all=True,
            append_images=frames[1:],
            duration=durations,
            loop=0,
            optimize=True,
        )
        terminal = Terminal("replay", "episodes", cwd=folder)
        terminal.watch(quiet=3)
        terminal.type("l" * 3)
        terminal.watch(quiet=3)[-1].save(output / "replay.png", optimize=True)
        terminal.close()
        picture_report(output, Path(folder))
    print(f"wrote {output}/play.gif ({len(frames)} screens), replay.png, report.png and report_phone.png")


if __name__ == "__main__":
    main()
