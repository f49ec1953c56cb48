"""`attestbench guest`: for people, for programs, and its errors."""

import json
from pathlib import Path

import pytest

from harness.cli.guest import _Lines
from harness.cli.main import invoke
from harness.guest import build
from harness.guest.agent import build as compile_agent
from harness.guest.cache import Recipe, obtain
from harness.model.errors import EnvironmentError_


def stored(content: bytes = b"content") -> Path:
    return obtain(Recipe("thing", {"a": "1"}), lambda into: _write(into / "file", content))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def test_list_of_nothing_says_what_to_do(
    cache_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["guest", "list"]) == 0
    assert "attestbench guest build" in capsys.readouterr().out


def test_list_shows_digests_and_finds_damage(
    cache_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stored()
    assert invoke(["guest", "list"]) == 0
    assert "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73" in (
        capsys.readouterr().out
    )
    assert invoke(["guest", "list", "--json"]) == 0
    [entry] = json.loads(capsys.readouterr().out)
    assert entry["inputs"] == {"a": "1"}
    assert entry["files"]["file"]["size"] == 7
    (path / "file").write_bytes(b"CONTENT")
    assert invoke(["guest", "list"]) == 1
    assert "file is not what was built" in capsys.readouterr().err


def test_clean_removes_everything(cache_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored()
    assert invoke(["guest", "clean"]) == 0
    assert str(path) in capsys.readouterr().out
    assert not path.exists()


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "build_agent", lambda: Path("agent"))
    monkeypatch.setattr(build, "build_image", lambda _progress: Path("root"))
    monkeypatch.setattr(build, "build_container_images", lambda: {"a": Path("a")})
    kernels = build.Kernels(Path("stock"), Path("namespaced"))
    monkeypatch.setattr(build, "build_kernels", lambda _progress: kernels)


IMAGES = ["agent", "image", "container a"]
KERNELS = ["stock kernel", "namespaced kernel"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], IMAGES + KERNELS),
        (["--all"], IMAGES + KERNELS),
        (["--image"], IMAGES),
        (["--kernels"], KERNELS),
    ],
)
def test_build_builds_what_was_asked_for(
    parts: None, options: list[str], names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["guest", "build", *options]) == 0
    shown = [line.rsplit(maxsplit=1)[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == names
    assert invoke(["guest", "build", *options, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == names


def test_a_build_that_fails_is_one_line_and_exit_4(
    parts: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_progress: object) -> None:
        raise EnvironmentError_("no source")

    monkeypatch.setattr(build, "build_kernels", broken)
    assert invoke(["guest", "build"]) == 4
    assert capsys.readouterr().err == "attestbench: error: no source\n"


def test_progress_without_a_terminal_is_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _Lines()
    lines("unpacking", None)
    for step in range(101):
        lines("compiling", step / 100)
    shown = capsys.readouterr().err.splitlines()
    assert shown[:3] == ["unpacking", "compiling", "compiling (20%)"]
    assert len(shown) == 7


def test_an_agent_that_does_not_compile_shows_the_first_error(
    cache_home: Path, tmp_path: Path
) -> None:
    (tmp_path / "main.c").write_text("int main(void) { return nothing; }\n")
    with pytest.raises(EnvironmentError_, match=r"main\.c:1:\d+: error: .nothing. undeclared"):
        compile_agent(tmp_path)


def test_an_agent_without_sources(cache_home: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentError_, match="has no source"):
        compile_agent(tmp_path)


def test_the_agent_is_the_same_from_another_folder(cache_home: Path, tmp_path: Path) -> None:
    contents = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "main.c").write_text(
            "#include <assert.h>\n#include <linux/loop.h>\nint main(int n, char **v)\n"
            "{ (void)v; assert(n == LOOP_SET_FD); return 0; }\n"
        )
        binary = compile_agent(folder)
        contents.add(binary.read_bytes())
        for file in binary.parent.iterdir():
            file.unlink()
    assert len(contents) == 1
