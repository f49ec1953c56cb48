"""The command line, called in this process."""

import json
from typing import Any

import pytest

from harness.cli.main import invoke


class Output:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def text(self, *arguments: str, code: int = 0) -> str:
        assert invoke(list(arguments)) == code
        return self._capsys.readouterr().out

    def json(self, *arguments: str) -> Any:
        return json.loads(self.text(*arguments, "--json"))

    def error(self, *arguments: str, code: int) -> str:
        assert invoke(list(arguments)) == code
        lines = self._capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("attestbench: error: ")
        return lines[0]


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Output:
    return Output(capsys)
