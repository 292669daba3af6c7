"""Pages that are made of the parsers: the manual page, completion for shells, options as TOML, the table of habits."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, get_args

from facefusion.declaration import processor_names
from facefusion.errors import RecipeError
from facefusion.facefusion3 import COMMANDS, NEEDLESS, OPTIONS, processor_of
from facefusion.recipe import Recipe, flags_of, known_options
from facefusion.service.values import OptionValue
from facefusion.settings import setting_fields
from facefusion.version import __version__

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Book:
    """What the pages are made of.

    Attributes
    ----------
    commands
        What each command does, those for FaceFusion 3's jobs last.
    drafts
        These alone.
    parser_of
        The parser of a command, with all its options shown.
    exit_text
        What exit codes mean.
    """

    commands: Mapping[str, str]
    drafts: Mapping[str, str]
    parser_of: Callable[[str], argparse.ArgumentParser]
    exit_text: str
    _parsers: dict[str, argparse.ArgumentParser] = field(default_factory=dict)

    def parser(self, command: str) -> argparse.ArgumentParser:
        """The parser of a command, which is made once."""
        if command not in self._parsers:
            self._parsers[command] = self.parser_of(command)
        return self._parsers[command]

    def options(self, command: str) -> Iterator[argparse.Action]:
        """Options of a command that are told about."""
        for action in self.parser(command)._actions:
            if action.option_strings and action.help != argparse.SUPPRESS:
                yield action

    def verbs(self, command: str) -> tuple[str, ...]:
        """What may stand behind a command, as ``list`` behind ``jobs``."""
        for action in self.parser(command)._actions:
            if action.dest == "action" and action.choices is not None:
                return tuple(map(str, action.choices))
        return ()


@lru_cache
def _fields(names: tuple[str, ...]) -> dict[str, Any]:
    """Every option that is told about; once for all that ask, as long as the same processors are there."""
    return {**known_options(), **setting_fields()}


def _choices(name: str) -> tuple[str, ...]:
    """Words that an option takes, where there are few."""
    info = _fields(processor_names()).get(name)
    found: list[str] = []

    def look(kind: Any) -> None:
        for one in get_args(kind):
            if isinstance(one, str):
                found.append(one)
            elif get_args(one):
                look(one)

    if info is not None:
        look(info.annotation)
    return tuple(dict.fromkeys(found))


# Completion


def completion(book: Book, shell: str) -> str:
    """A script that completes commands, options and their words.

    Raises
    ------
    RecipeError
        For another shell.
    """
    if shell not in SHELLS:
        raise RecipeError(f"There is no completion for '{shell}'.", f"Shells: {', '.join(SHELLS)}.")
    if shell == "fish":
        return _fish(book)
    bash = _bash(book)
    return bash if shell == "bash" else f"#compdef facefusion\nautoload -U +X bashcompinit && bashcompinit\n{bash}"


def _bash(book: Book) -> str:
    flags, words, verbs = [], dict[str, tuple[str, ...]](), []
    for command in book.commands:
        own = list(book.options(command))
        every = " ".join(flag for action in own for flag in action.option_strings)
        flags.append(f'    {command}) words="{every}" ;;')
        for action in own:
            for flag in action.option_strings:
                if choices := _choices(action.dest):
                    words[flag] = choices
        if book.verbs(command):
            verbs.append(f'    {command}) words="{" ".join(book.verbs(command))}" ;;')
    values = [f'    {flag}) COMPREPLY=($(compgen -W "{" ".join(found)}" -- "$word")); return ;;'
              for flag, found in sorted(words.items())]  # fmt: skip
    return "\n".join(
        [
            "# facefusion --completion bash; eval it in your ~/.bashrc.",
            "_facefusion() {",
            '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""',
            "  COMPREPLY=()",
            '  case "$before" in',
            *values,
            "  esac",
            '  if [[ $COMP_CWORD == 1 && "$word" != -* ]]; then',
            f'    COMPREPLY=($(compgen -W "{" ".join(book.commands)}" -- "$word"))',
            "    return",
            "  fi",
            '  if [[ "$word" == -* ]]; then',
            '    case "${COMP_WORDS[1]}" in',
            *(f"  {line}" for line in flags),
            '      *) words="--help --version --completion --man" ;;',
            "    esac",
            "  elif [[ $COMP_CWORD == 2 ]]; then",
            '    case "${COMP_WORDS[1]}" in',
            *(f"  {line}" for line in verbs),
            "    esac",
            "  fi",
            '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
            '  [[ "$word" == -* || ${#COMPREPLY[@]} -gt 0 ]] || COMPREPLY=($(compgen -f -- "$word"))',
            "}",
            "complete -o filenames -F _facefusion facefusion",
        ]
    )


def _fish(book: Book) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = ["# facefusion --completion fish | source"]
    for command, about in book.commands.items():
        lines.append(f"complete -c facefusion -n __fish_use_subcommand -a {command} -d {quoted(about)}")
        here = f"complete -c facefusion -n '__fish_seen_subcommand_from {command}'"
        if book.verbs(command):
            lines.append(f"{here} -a '{' '.join(book.verbs(command))}'")
        for action in book.options(command):
            text = here
            for flag in action.option_strings:
                text += f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}"
            if action.nargs != 0:
                text += " -r"
            if choices := _choices(action.dest):
                text += f" -x -a '{' '.join(choices)}'"
            about = (action.help or "").replace("%%", "%").split(" (default")[0]
            lines.append(f"{text} -d {quoted(about)}")
    return "\n".join(lines)


# The manual page


def man_page(book: Book) -> str:
    """The manual page, section 1, as roff."""

    def plain(text: str) -> str:
        text = text.replace("%%", "%").replace("\\", "\\e").replace("-", "\\-")
        return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in text.splitlines())

    lines = [
        f'.TH FACEFUSION 1 "" "facefusion {__version__}" "User commands"',
        ".SH NAME",
        "facefusion \\- change faces in photos and video",
        ".SH SYNOPSIS",
        ".B facefusion",
        "[\\fICOMMAND\\fR] [\\fIOPTION\\fR ...]",
        ".SH COMMANDS",
    ]
    for command, about in book.commands.items():
        lines += [".TP", f".B {plain(command)}", plain(about)]
    for command in book.commands:
        own = [action for action in book.options(command) if action.dest not in ("help", "json", "quiet", "debug")]
        is_apart = command in ("headless-run", "analyse", "render", "preview", "live", "batch-run")
        if is_apart or command.startswith("job-"):  # what run takes, mostly
            known = {action.dest for action in book.options("run")}
            own = [action for action in own if action.dest not in known]
        if not own:
            continue
        lines.append(f".SH OPTIONS OF {plain(command).upper()}")
        if is_apart:
            lines.append("And those of \\fBrun\\fR, as far as they mean something.")
        for action in own:
            flags = ", ".join(f"\\fB{plain(flag)}\\fR" for flag in action.option_strings)
            value = "" if action.nargs == 0 else f" \\fI{plain(str(action.metavar or action.dest).upper())}\\fR"
            lines += [".TP", flags + value, plain(action.help or "")]
    lines += [".SH EXIT STATUS", ".nf", plain(book.exit_text.partition("\n")[2]), ".fi"]
    return "\n".join(lines)


# Options in force


def config_text(recipe: Recipe, found: Iterable[OptionValue], chain: str) -> str:
    """Options as a TOML file that says the same again, each with where it comes from.

    Parameters
    ----------
    recipe
        What they make.
    found
        All of them.
    chain
        Where it is said what is done.
    """
    names = [step.processor for step in recipe.steps]
    is_flat = len(set(names)) == len(names)
    lines, tables = [], []
    if is_flat:
        lines.append(f"processors = {_toml(names)}  # {chain}")
    else:
        lines.append(f"# processors: see the steps below ({chain})")
        for step in recipe.steps:
            tables += ["", "[[step]]", f"processor = {_toml(step.processor)}"]
            tables += [f"{name} = {_toml(value)}" for name, value in step.options if _toml(value)]
    for one in found:
        if one.step in names and not is_flat:
            continue
        text = "" if one.value == "." else _toml(one.value)  # an empty path
        lines.append(f"{one.name} = {text}  # {one.origin}" if text else f"# {one.name}: none ({one.origin})")
    return "\n".join([*lines, *tables])


def _toml(value: Any) -> str:
    """A value as TOML; empty for what TOML has no word for."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value) if isinstance(value, int | float) else json.dumps(str(value), ensure_ascii=False)


# Habits

_OWN: dict[str, str] = {
    "config_path": "`--config-path`; a file that ends in `.ini` is read as FaceFusion 3's",
    "log_level": "`--log-level`: error, warn, info or debug",
    "halt_on_error": "`--halt-on-error` of job-run-all, job-retry-all and batch-run; elsewhere without effect",
    "trim_frame_start": "the frame is looked up, and the part begins at its time: exact at variable frame rates too",
    "trim_frame_end": "the same; the frame itself is not in the part any more",
    "face_detector_size": "one number, the longest side; 640x640 is read as 640",
    "face_selector_mode": "without it `--faces` decides: the most prominent person of every shot",
    "output_audio_encoder": "without it sound is copied as it is",
    "output_audio_quality": "of sound that is converted",
    "output_video_fps": "frames in between are left out, each of the others keeps its own time; none is made up",
    "output_image_scale": "any number from 0.05 to 8",
    "output_video_scale": "any number from 0.05 to 8",
    "output_video_encoder": "no libx264rgb and no rawvideo; besides theirs libsvtav1 and prores_ks",
    "source_pattern": "a glob or a folder",
    "target_pattern": "a glob or a folder",
    "output_pattern": "a folder, or a pattern; `{target_dir}` keeps the tree",
}


def habits_page(book: Book) -> str:
    """docs/facefusion3.md: what became of every option and command of FaceFusion 3.8.1."""
    rows: dict[str, list[tuple[str, str, str]]] = {}
    for group, names in OPTIONS.items():
        for name in names:
            flag = f"`--{name.replace('_', '-')}`"
            rows.setdefault(group, []).append((flag, *fate_of(name)))
    lines = [
        "# Coming from FaceFusion 3",
        "",
        "Every option and command of FaceFusion 3.8.1, and what it does here. This page is generated from the program",
        "(`facefusion.apps.manual.habits_page`), and a test compares them.",
        "",
        "`facefusion headless-run`, `batch-run` and the `job-…` verbs take its command lines,",
        "`--config-path facefusion.ini` its settings. *Works* means that it does what it says there;",
        "*no effect* that it is accepted, with one note for all such options of a command;",
        "*not here yet* that its processor is still to come, and is refused by that name.",
        "",
        "| command | here |",
        "|---|---|",
        "| `run` | does the job at once; the page is `facefusion serve` |",
        "| `headless-run`, `batch-run` | work |",
    ]
    lines += [f"| `{name}` | {what} {hint} |" for name, (what, hint) in COMMANDS.items()]
    lines += [f"| `{name}` | works: {about} |" for name, about in book.drafts.items()]
    for group, found in rows.items():
        lines += ["", f"## {group[:1].upper()}{group[1:]}", "", "| option | here | |", "|---|---|---|"]
        lines += [f"| {flag} | {fate} | {text} |" for flag, fate, text in found]
    return "\n".join(lines) + "\n"


def fate_of(name: str) -> tuple[str, str]:
    """What became of an option of FaceFusion 3: in a word or two, and why."""
    if processor := processor_of(name):
        return "not here yet", f"{processor} is to come"
    if name in _OWN:
        return "works", _OWN[name]
    if name in known_options() or name in setting_fields():
        shown = "--" + name.replace("_", "-")
        spellings = flags_of(name) if name in known_options() else ()
        others = [flag for flag in spellings if flag.startswith("--") and flag != shown]
        return "works", f"also `{others[0]}`" if others else ""
    return "no effect", NEEDLESS[name]
