"""The boxes of the page that command: an instruction for the policy, a class list."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, Protocol

_GOOD, _BAD, _BUSY = "#2f9e44", "#d6336c", "#868e96"

# The last letters typed into a box may reach us after the click on the button below it.
_LAST_LETTERS_S = 0.2

# Shows an answer: text, and whether it is good (None while it is not known yet).
Answer = Callable[[str, "bool | None"], None]


class Commands(Protocol):
    """What the boxes can ask for. Every request is answered through `answer`, from any thread."""

    def set_vocabulary(self, names: list[str], things: list[str], answer: Answer) -> None:
        """Ask for another class list."""

    def run(self, instruction: str, time_limit_s: float, answer: Answer) -> None:
        """Send an instruction to the policy."""

    def cancel(self, answer: Answer) -> None:
        """Stop every run of the policy, whoever began it."""


class Controls:
    """The boxes and their buttons.

    Args:
        page: a viser server.
        commands: what the buttons do.
    """

    def __init__(self, page: Any, commands: Commands) -> None:  # noqa: ANN401 - viser is optional
        self._commands = commands
        gui = page.gui
        with gui.add_folder("Instruction", order=1):
            self._instruction = gui.add_text(
                "instruction",
                "",
                hint="what the policy shall do, e.g. put the red cube on the tray",
            )
            self._time_limit_s = gui.add_number(
                "seconds", 0.0, min=0.0, max=3600.0, step=1.0, hint="0: the policy's own time limit"
            )
            send = gui.add_button("Send instruction", color="teal")
            cancel = gui.add_button("Cancel", color="red")
            self._run_answer = gui.add_html("")
        with gui.add_folder("Vocabulary", order=2):
            self._names = gui.add_text(
                "classes", "", multiline=True,
                hint="one class per line (or separated by ;), synonyms separated by commas",
            )  # fmt: skip
            self._things = gui.add_text(
                "things", "", hint="countable ones, separated by ; - empty: all"
            )
            change = gui.add_button("Use these classes", color="teal")
            self._vocabulary_answer = gui.add_html("")
        send.on_click(self._send)
        cancel.on_click(self._cancel)
        change.on_click(self._change)

    def _send(self, _event: object) -> None:
        time.sleep(_LAST_LETTERS_S)
        instruction = self._instruction.value.strip()
        seconds = float(self._time_limit_s.value)
        with _answered(self._run_answer) as answer:
            if not instruction:
                answer("the instruction is empty: write what the policy shall do", False)
                return
            answer("sent, waiting for the policy", None)
            self._commands.run(instruction, seconds, answer)

    def _cancel(self, _event: object) -> None:
        with _answered(self._run_answer) as answer:
            self._commands.cancel(answer)

    def _change(self, _event: object) -> None:
        time.sleep(_LAST_LETTERS_S)
        names, things = entries(self._names.value), entries(self._things.value)
        with _answered(self._vocabulary_answer) as answer:
            answer("sent, waiting for the segmentation node", None)
            self._commands.set_vocabulary(names, things, answer)


def entries(text: str) -> list[str]:
    """Return the entries of a class list as typed: separated by line ends or semicolons."""
    return [entry for part in re.split(r"[;\n]", text) if (entry := part.strip())]


@contextlib.contextmanager
def _answered(box: Any) -> Iterator[Answer]:  # noqa: ANN401
    """Give a way to answer into a box; what fails inside is answered, too."""

    def answer(text: str, good: bool | None) -> None:
        color = _BUSY if good is None else _GOOD if good else _BAD
        box.content = (
            f"<div data-answer style='font-size:12px;padding:0 10px 4px;color:{color}'>"
            f"{escape(text)}</div>"
        )

    try:
        yield answer
    except Exception as error:
        answer(f"not sent: {error!r}", False)
        raise
