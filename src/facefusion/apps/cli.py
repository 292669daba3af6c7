"""The command line. Flags are made from the fields of `facefusion.recipe.Recipe`; help imports nothing heavy."""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from facefusion.apps import console, data, stopping
from facefusion.apps.endings import EXIT_OK, EXIT_OUTPUT, EXIT_UNEXPECTED, EXIT_USAGE, job_in_hand, tell_exception
from facefusion.apps.stopping import EXIT_STOPPED
from facefusion.errors import RecipeError, UnknownOption
from facefusion.version import __version__

if TYPE_CHECKING:
    from facefusion.apps.manual import Book

_EXIT_TEXT = """exit codes:
  0 done   2 wrong request   3 input cannot be read   4 no face found
  5 output cannot be written   6 model or provider   7 worse than --fail-under
  8 a job cannot go on   9 too little memory   10 not allowed here   130 stopped   1 a fault of ours"""

_COMMANDS = {
    "run": "change faces in a photo or clip (the default command)",
    "headless-run": "the same, in FaceFusion 3 spelling",
    "batch-run": "change faces in many targets, or with many sources",
    "analyse": "pass 1 only: find and follow faces, write a tracks file or data for other programs",
    "render": "pass 2 only: change faces from a tracks file",
    "preview": "one frame as it will be: preview -s FACE -t TARGET --at SECONDS -o PICTURE, or preview JOB",
    "people": "who is who in a target, with the numbers that --faces takes: people -t TARGET -o PICTURE",
    "export": "tracks as data for other programs: export TRACKS --format json|jsonl|csv|parquet|coco|mot|webvtt",
    "report": "measure an output, of whatever program, beside its target: report -t TARGET -o OUTPUT",
    "live": "change what a camera shows, and record it",
    "jobs": "list, show, resume, cancel, retry, delete, report and clean up jobs",
    "worker": "do the work of a cluster's jobs (needs --broker, --job-store, --storage)",
    "serve": "a REST API and a page, for this machine or in front of a cluster",
    "keys": "keys of the service: create, list, rotate, revoke",
    "consent": "ledger of people who have agreed: add, list, show, revoke, check",
    "blocklist": "people who must never be a source or a target: add, list, remove",
    "models": "list, show, fetch, verify, import, export and time models; check and describe your own",
    "processors": "list and show processors: options, requirements, models, licences",
    "plugins": "check that engines and processors hold to their contracts",
    "source": "show what is taken from source photos and what is completed: source inspect PHOTO",
    "verify": "what files say of how they were made, and whether that can be believed: verify FILE [FILE ...]",
    "doctor": "show what is installed and what really works",
}
_HEADINGS: dict[str, tuple[str, ...]] = {
    "commands": ("run", "preview", "people", "source", "batch-run", "live", "jobs", "report", "verify", "doctor"),
    "models and processors": ("models", "processors", "plugins"),
    "one pass at a time, and what it found": ("analyse", "render", "export"),
    "for sites and services": ("consent", "blocklist", "serve", "keys", "worker"),
}
"""Commands as help shows them: what most people want first."""


_JOB_ACTIONS = ("list", "show", "resume", "cancel", "retry", "delete", "report", "sweep", "preview")
_JOB_HELP = """list; show ID; resume ID; cancel ID; retry ID (give every part all its tries again); delete ID;
report ID (figures so far as JSON); sweep (delete old jobs and stray files, wake up what was forgotten);
preview ID --at SECONDS -o PICTURE (a frame as it will be)"""
_DRAFT_HELP = {
    "job-list": "drafts, or those of one status: job-list [drafted, queued, completed or failed]",
    "job-create": "begin a list of steps: job-create NAME",
    "job-add-step": "add a step, with the options of run: job-add-step NAME -s … -t … -o …",
    "job-remix-step": "add a step on what another one makes: job-remix-step NAME STEP …",
    "job-insert-step": "add a step before another one: job-insert-step NAME STEP …",
    "job-remove-step": "take a step out: job-remove-step NAME STEP",
    "job-submit": "say that a list is complete: job-submit NAME",
    "job-submit-all": "the same of all drafts",
    "job-run": "do what was submitted: job-run NAME",
    "job-run-all": "do all that was submitted",
    "job-retry": "do what failed again: job-retry NAME",
    "job-retry-all": "do all that failed again",
    "job-delete": "take a list away: job-delete NAME",
    "job-delete-all": "take all lists away",
}
_DRAFT_ACTIONS = tuple(_DRAFT_HELP)
_HALTING = ("batch-run", *(name for name in _DRAFT_ACTIONS if name.endswith("-all")))
"""Commands that go on after a failure, unless they are told not to."""
_OF_RECIPES = (
    "run", "headless-run", "batch-run", "analyse", "render", "preview", "live", "job-add-step", "job-remix-step",
    "job-insert-step",
)  # fmt: skip
"""Commands that take so many options that help shows the usual ones first."""
_USUAL = (
    "source_paths", "target_path", "output_path", "frame_rate", "processors", "faces", "exempt_paths", "face_map_path",
    "face_selector_mode", "reference_face_path", "start_s", "end_s", "output_video_encoder", "output_video_quality",
    "output_audio", "report_path", "execution_providers", "models_paths", "licences", "worker_count", "server",
    "server_key", "watermark",
)  # fmt: skip
"""Options that help shows without being asked for all; of processors it shows their models."""
_WANTED = {
    "run": "-s PHOTO [PHOTO ...] -t TARGET -o OUTPUT ",
    "headless-run": "-s PHOTO [PHOTO ...] -t TARGET -o OUTPUT ",
    "batch-run": "-s PATTERN -t PATTERN -o PATTERN ",
    "analyse": "-t TARGET -o TRACKS ",
    "render": "--tracks TRACKS -s PHOTO [PHOTO ...] -t TARGET -o OUTPUT ",
    "preview": "-s PHOTO [PHOTO ...] -t TARGET --at S -o PICTURE ",
    "live": "-s PHOTO [PHOTO ...] --camera DEVICE -o OUTPUT ",
}
"""What the usage line shows."""
_PATTERNS = ("source_pattern", "target_pattern", "output_pattern")
_MODEL_ACTIONS = ("list", "show", "fetch", "verify", "pin", "import", "export", "key", "bench", "check", "new")
_JOB_FIELDS = (
    "jobs_path", "job_store", "broker", "storage", "worker_count", "queue", "priority", "memory_limit_gb",
    "disk_limit_gb", "job_tries", "lease_s", "keep_days",
)  # fmt: skip
_SIGNING_FIELDS = ("provenance", "watermark", "signing_certificate", "signing_key", "identity_path")
_LAYERS = ("mask_path", "layer_path")
_NO_RESULT = ("report_path", "fail_under", "first_number", *_LAYERS)
_APART = ("server", "remote", "policy", "operation")
"""Headings of options that stand only where they are asked for."""
_CONSENT_ACTIONS = ("add", "list", "show", "revoke", "check")
_CONSENT_HELP = """add REF PHOTO [PHOTO …]; list; show REF; revoke REF (its photos are deleted); check PHOTO [PHOTO …]
(who of the ledger it is, and what they have agreed to)"""
_BLOCKLIST_ACTIONS = ("add", "list", "remove")
_KEY_ACTIONS = ("create", "list", "rotate", "revoke")
_NOT_LIVE = (
    "report_path", "fail_under", "segment_s", "allow_empty", "strict", "output_audio", "drop_tracks", "keep_metadata",
    "trim_frame_start", "trim_frame_end", "output_audio_encoder", "output_audio_quality", "output_audio_volume",
    "output_image_scale", "output_video_scale", "output_video_fps",
    "output_image_quality", "reference_frame_number", "reference_face_position", "execution_batch_size", "allow_8bit",
    "mask_path", "layer_path", "frame_rate", "first_number",
)  # fmt: skip
"""Options that mean nothing where there is no end, and no file."""
_MODEL_HELP = """list; show ID; fetch ID; verify [ID]; pin ID (accept a file without a published hash as it is now);
import FOLDER or BUNDLE; export BUNDLE ID; key (the public key of your bundles); bench [ID];
check FOLDER (look through models of your own: entries, files, licences, graphs, and whether they do what they are for);
new GRAPH.onnx (write an entry for a model of your own)"""


class _Parser(argparse.ArgumentParser):
    """Argparse with our error words and exit code."""

    def error(self, message: str) -> NoReturn:
        file = next((word for word in sys.argv[1:] if word.startswith("-") and os.path.isfile(word)), None)
        hint = f"The file {file} is written ./{file} here." if file else f"See {self.prog} --help."
        raise RecipeError(f"{message[:1].upper()}{message[1:].rstrip('.')}.", hint)


class _HelpAll(argparse.Action):
    """Shows every option of a command."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show all options of this command, and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        _command_parser(parser.prog.split()[-1], is_whole=True).print_help()
        parser.exit()


def _add_recipe_flags(parser: argparse.ArgumentParser, skip: Sequence[str] = (), only: Sequence[str] = ()) -> None:
    from facefusion.declaration import flat_fields
    from facefusion.recipe import known_options, spelled
    from facefusion.settings import setting_fields

    is_short = parser.prog.split()[-1] in _OF_RECIPES

    groups: dict[str, Any] = {}
    own, flat, words = known_options(), flat_fields(), spelled()
    for name, field in {**own, **setting_fields()}.items():
        extra: Any = field.json_schema_extra
        heading, flags = words[name] if name in own else (extra["group"], extra["flags"])
        if name in skip or (heading not in only if only or heading in _APART else False):
            continue
        if heading not in groups:
            groups[heading] = parser.add_argument_group(heading)
        group = groups[heading]
        text = field.description or ""
        if field.default not in (None, (), Path(), False, ""):
            shown = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
            text += f" (default: {shown})"
        options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
        is_usual = name in _USUAL or (name in flat and flat[name][1] == "model")
        if is_short and not is_usual and not getattr(parser, "is_whole", False):
            options["help"] = argparse.SUPPRESS
        if field.annotation is bool:
            options["action"] = "store_true"
        elif "tuple" in str(field.annotation) and name != "faces":
            options |= {"nargs": "+", "metavar": name.split("_")[0].upper()}
        else:
            options["metavar"] = name.rsplit("_", 1)[-1].upper() if name.endswith(("path", "_s")) else "VALUE"
        group.add_argument(*flags, **options)


def _add_needless_flags(parser: argparse.ArgumentParser, command: str) -> None:
    """Options of FaceFusion 3 that change nothing here: they are taken, and told about."""
    from facefusion.facefusion3 import IS_FLAG, NEEDLESS, is_needless

    for name in NEEDLESS:
        flag = "--" + name.replace("_", "-")
        if not is_needless(name) or flag in parser._option_string_actions:
            continue
        options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
        if name == "halt_on_error" and command in _HALTING:
            options["help"] = "stop at the first that fails, instead of going on with the others"
        options |= {"action": "store_true"} if name in IS_FLAG else {"nargs": "+"}
        parser.add_argument(flag, **options)


def _add_show_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("messages")
    if "--log-level" not in parser._option_string_actions:
        text = "what is told: error is --quiet, debug is a log and all of --debug (default: info)"
        group.add_argument("--log-level", default=argparse.SUPPRESS, metavar="LEVEL", help=text)
    group.add_argument("--quiet", action="store_true", help="show errors only")
    group.add_argument("--json", action="store_true", help="write one JSON event per line to standard output")
    group.add_argument("--debug", action="store_true", help="show where an error came from, for those who mend it")
    group.add_argument("--config-path", type=Path, help="TOML file with options (see docs/configuration.md)")
    group.add_argument(
        "--show-config",
        action="store_true",
        help="print every option with where it comes from, as TOML for --config-path, and stop",
    )
    if parser.prog.split()[-1] in _OF_RECIPES:
        group.add_argument("--help-all", action=_HelpAll)


def _time(text: str) -> float:
    """Seconds, or a time such as 00:01:02.5."""
    from facefusion.recipe import read_time

    try:
        return float(read_time(text))  # type: ignore[arg-type]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no time: seconds, or 00:01:02.5") from error


def _add_preview_flags(parser: argparse.ArgumentParser, is_required: bool) -> None:
    group = parser.add_argument_group("preview")
    text = "time of the frame in the output: seconds, or 00:01:02.5"
    group.add_argument("--at", type=_time, default=0.0, dest="at_s", metavar="S", help=text)
    group.add_argument("--compare", action="store_true", dest="is_beside", help="the frame before on the left")
    text = (
        "find faces in the whole target first: the frame is the final one (else around the moment alone, in a second)"
    )
    group.add_argument("--exact", action="store_true", dest="is_exact", help=text)
    group.add_argument("-o", "--output", type=Path, dest="picture_path", required=is_required, help="picture to write")


def _help_parser() -> argparse.ArgumentParser:
    from facefusion.facefusion3 import COMMANDS

    parser = _Parser(
        prog="facefusion",
        description="Change faces in photos and video.\n\n"
        "The shortest way:    facefusion -s face.jpg -t clip.mp4 -o result.mp4\n"
        "Its usual options:   facefusion run --help",
        epilog="\n\n".join(
            f"{title}:\n" + "\n".join(f"  {name:<14}{_COMMANDS[name]}" for name in names)
            for title, names in _HEADINGS.items()
        )
        + "\n\nFor those who come from FaceFusion 3 (facefusion COMMAND --help):\n"
        + "\n".join(
            textwrap.wrap(
                "  ".join(["headless-run", *_DRAFT_HELP]),
                78,
                initial_indent="  ",
                subsequent_indent="  ",
                break_on_hyphens=False,
            )
        )
        + "\n"
        + "\n".join(f"  {name:<16}{hint}" for name, (_, hint) in COMMANDS.items())
        + "\n\nOptions of a command:  facefusion COMMAND --help, and all of them: facefusion COMMAND --help-all\n"
        + "For your shell:  facefusion --completion bash, zsh or fish; facefusion --man is a manual page\n\n"
        + _EXIT_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"facefusion {__version__}")
    parser.add_argument("--completion", metavar="SHELL", help="print a script that completes words: bash, zsh or fish")
    parser.add_argument("--man", action="store_true", help="print the manual page, for man -l -")
    parser.add_argument("command", nargs="?", help="one of the commands below")
    return parser


def _command_parser(command: str, is_whole: bool = False) -> argparse.ArgumentParser:
    """The parser of a command; with ``is_whole`` its help shows all options."""
    about = _COMMANDS.get(command) or _DRAFT_HELP.get(command, "")
    parser = _Parser(
        prog=f"facefusion {command}",
        description=f"{about[:1].upper()}{about[1:]}.",
        epilog=_EXIT_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if command in _OF_RECIPES:
        parser.usage = f"%(prog)s {_WANTED.get(command, '')}[OPTION ...]"
        if not is_whole:
            parser.epilog = f"These are the usual options; all of them: {parser.prog} --help-all\n\n{_EXIT_TEXT}"
    parser.is_whole = is_whole  # type: ignore[attr-defined]
    if command in ("run", "headless-run"):
        _add_recipe_flags(parser)
        _add_recipe_flags(parser, only=("policy",))
        _add_recipe_flags(parser, only=("remote",))
    elif command == "batch-run":
        _add_recipe_flags(
            parser, skip=("source_paths", "target_path", "output_path", "frame_rate", "first_number", *_LAYERS)
        )
        group = parser.add_argument_group("patterns")
        text = "glob of source photos, or a folder of them: one run for each"
        group.add_argument("-s", "--source-pattern", help=text, default="")
        text = "glob of photos and clips, or a folder with all that is in it"
        group.add_argument("-t", "--target-pattern", help=text, default="")
        text = "where results go: a folder, or a pattern with {index}, {source_name}, {target_name}, {target_extension}"
        text += " and {target_dir}"
        group.add_argument("-o", "--output-pattern", default="", help=text)
    elif command == "analyse":
        _add_recipe_flags(
            parser, skip=("source_paths", "output_path", "first_number", *_LAYERS, *_JOB_FIELDS, *_SIGNING_FIELDS)
        )
        parser.add_argument("-o", "--output", dest="tracks_path", type=Path, required=True, help="tracks file to write")
        data.add_flags(command, parser)
    elif command == "people":
        _add_recipe_flags(parser, skip=("source_paths", "output_path", *_NO_RESULT, *_JOB_FIELDS, *_SIGNING_FIELDS))
        data.add_flags(command, parser)
    elif command == "export":
        data.add_flags(command, parser)
    elif command == "report":
        _add_recipe_flags(parser, skip=("output_path", "first_number", *_LAYERS, *_JOB_FIELDS, *_SIGNING_FIELDS))
        data.add_flags(command, parser)
    elif command == "render":
        _add_recipe_flags(parser, skip=_JOB_FIELDS)
        parser.add_argument("--tracks", dest="tracks_path", type=Path, required=True, help="tracks file to read")
    elif command == "preview":
        kept = ("jobs_path", "job_store", "broker", "storage")
        none = [name for name in _JOB_FIELDS if name not in kept]
        _add_recipe_flags(parser, skip=("output_path", *_NO_RESULT, *none))
        _add_preview_flags(parser, is_required=True)
        parser.add_argument("names", nargs="*", metavar="JOB", help="a job, done or not, in place of source and target")
        parser.add_argument("--tracks", dest="tracks_path", type=Path, help="tracks file of the target, made before")
    elif command == "live":
        _add_recipe_flags(parser, skip=("target_path", "output_path", "start_s", "end_s", *_NOT_LIVE, *_JOB_FIELDS))
        group = parser.add_argument_group("camera")
        group.add_argument("--camera", default="0", metavar="DEVICE", help="number or name of a camera (default: 0)")
        group.add_argument("--camera-size", metavar="WxH", default="", help="wanted size in pixels, such as 1280x720")
        group.add_argument("--camera-rate", type=float, metavar="VALUE", help="wanted frames per second")
        group.add_argument("--camera-format", metavar="VALUE", default="", help="input format of libavdevice")
        group.add_argument("--seconds", type=_time, default=10.0, metavar="S", help="how long (default: 10)")
        group.add_argument("--every-frame", action="store_true", help="rather lag than leave frames out")
        group.add_argument("-o", "--output", dest="clip_path", type=Path, required=True, help="clip to write")
    elif command == "jobs":
        parser.add_argument("action", choices=_JOB_ACTIONS, nargs="?", default="list", metavar="action", help=_JOB_HELP)
        parser.add_argument("names", nargs="*", metavar="ID", help="job ids, or their beginnings")
        _add_preview_flags(parser, is_required=False)
        group = parser.add_argument_group("list")
        group.add_argument("--limit", type=int, default=0, help="so many jobs at most, the newest first")
        group.add_argument("--after", default="", metavar="CURSOR", help="go on after a page, with what it told")
        group.add_argument("--status", nargs="+", default=[], dest="statuses", help="only jobs like this")
        _add_recipe_flags(parser, only=("jobs", "provenance", "execution", "models"))
    elif command == "worker":
        parser.add_argument("--queues", nargs="+", default=["cpu"], help="queues to take work from (default: cpu)")
        parser.add_argument("--name", default="", help="name of the worker")
        parser.add_argument("--drain", action="store_true", help="tell the workers of --name, or all, to leave")
        _add_recipe_flags(parser, only=("jobs", "execution", "models", "policy", "provenance", "operation"))
    elif command == "serve":
        _add_recipe_flags(parser, only=("jobs", "execution", "models", "server", "policy", "provenance", "operation"))
    elif command == "keys":
        what = "create --tenant NAME; list; rotate ID; revoke ID"
        parser.add_argument("action", choices=_KEY_ACTIONS, nargs="?", default="list", metavar="action", help=what)
        parser.add_argument("names", nargs="*", metavar="ID", help="ids of keys")
        parser.add_argument("--tenant", default="", help="whose things the key opens")
        parser.add_argument("--scopes", default="", help="what it allows, such as jobs:write,assets:write or admin")
        parser.add_argument(
            "--expires", default="", help="how long it is valid, such as 90d, 12h or 30m (default: for ever)"
        )
        parser.add_argument("--note", default="", help="what it is for")
        parser.add_argument("--grace", default="", help="how long a key that is rotated is still valid, such as 1d")
        _add_recipe_flags(parser, only=("jobs",))
    elif command == "consent":
        parser.add_argument(
            "action", choices=_CONSENT_ACTIONS, nargs="?", default="list", metavar="action", help=_CONSENT_HELP
        )
        parser.add_argument("names", nargs="*", metavar="NAME", help="reference, photos")
        parser.add_argument("--person", default="", help="whose consent it is")
        parser.add_argument("--uses", nargs="+", default=[], help="source, target (default: both)")
        parser.add_argument(
            "--for-processors", nargs="+", default=[], help="processors that may be used (default: any)"
        )
        parser.add_argument("--tenants", nargs="+", default=[], help="tenants who may use it (default: anybody)")
        parser.add_argument("--models", nargs="+", default=[], help="one-person models that show this person")
        parser.add_argument(
            "--from", default="", dest="valid_from", metavar="DAY", help="first day, such as 2026-01-31"
        )
        parser.add_argument(
            "--until", default="", dest="valid_until", metavar="DAY", help="last day (default: for ever)"
        )
        parser.add_argument("--note", default="", help="where the signed paper is, and the like")
        _add_recipe_flags(parser, only=("policy",))
    elif command == "blocklist":
        what = "add PHOTO [PHOTO …] (of one person; no photo is kept); list; remove ID"
        parser.add_argument(
            "action", choices=_BLOCKLIST_ACTIONS, nargs="?", default="list", metavar="action", help=what
        )
        parser.add_argument("names", nargs="*", metavar="NAME", help="photos, or ids")
        parser.add_argument("--note", default="", help="why; whoever has the key can read it")
        _add_recipe_flags(parser, only=("policy",))
    elif command in _DRAFT_ACTIONS:
        takes = {
            "job-list": "?",
            "job-submit-all": "?",
            "job-delete-all": "?",
            "job-run-all": "?",
            "job-retry-all": "?",
        }
        parser.add_argument(
            "names", nargs=takes.get(command, "+"), metavar="NAME", help="job, and step where there is one"
        )
        is_step = command in ("job-add-step", "job-remix-step", "job-insert-step")
        _add_recipe_flags(parser, only=() if is_step else ("jobs", "execution", "models"))
    elif command == "models":
        parser.add_argument(
            "action", choices=_MODEL_ACTIONS, nargs="?", default="list", metavar="action", help=_MODEL_HELP
        )
        parser.add_argument("names", nargs="*", metavar="NAME", help="model ids, or the folder or bundle")
        parser.add_argument("--key", type=Path, help="private key that signs bundles; made on first use")
        parser.add_argument("--trust", nargs="+", default=[], metavar="KEY", help="public keys that may sign bundles")
        group = parser.add_argument_group("new", "what an entry says that the graph does not")
        group.add_argument(
            "--family", default="", help="which engine runs it (default: told from the graph, if it can be)"
        )
        group.add_argument("--id", default="", dest="model_id", help="its id (default: the name of the file)")
        group.add_argument("--licence", default="", help="of the weights, as SPDX writes it")
        group.add_argument("--licence-source", default="", help="where that is stated")
        choices = ("yes", "no", "unclear")
        text = "whether the licence allows commercial use: yes, no or unclear"
        group.add_argument("--commercial", default="", choices=choices, metavar="VALUE", help=text)
        group.add_argument("--vendor", default="", help="who made it")
        group.add_argument("--template", default="", help="alignment of its crops (default: as others of the family)")
        text = "write over an entry that is there"
        group.add_argument("--force", action="store_true", dest="is_replacing", help=text)
        _add_recipe_flags(parser, only=("models", "execution"))
    elif command in ("processors", "plugins"):
        actions = ("list", "show") if command == "processors" else ("check",)
        what = "list; show NAME" if command == "processors" else "check [NAME …]: of processors, engines or models"
        parser.add_argument("action", choices=actions, nargs="?", default=actions[0], metavar="action", help=what)
        parser.add_argument("names", nargs="*", metavar="NAME", help="which; without any all")
        _add_recipe_flags(parser, only=("models", "execution"))
    elif command == "source":
        parser.add_argument("action", choices=("inspect",), metavar="action", help="inspect PHOTO [PHOTO ...]")
        parser.add_argument("names", nargs="+", metavar="PHOTO", help="photos of one person")
        parser.add_argument("-o", "--output", type=Path, dest="picture_path", help="picture to write")
        _add_recipe_flags(parser, only=("analysis", "models", "execution"))
    elif command == "doctor":
        _add_recipe_flags(parser, only=("models", "policy", "provenance"))
    elif command == "verify":
        parser.epilog = _verify_text()
        parser.add_argument("names", nargs="*", metavar="FILE", help="photos and clips")
        text = "certificates of authorities that are trusted; with --release public keys (OpenSSH)"
        parser.add_argument("--trust", type=Path, metavar="PEM", help=text)
        text = "folder with a release of FaceFusion: whether it is what was released"
        parser.add_argument("--release", type=Path, dest="release_path", metavar="DIR", help=text)
        _add_recipe_flags(parser, only=("provenance",))
    if command in (*_OF_RECIPES, *_DRAFT_ACTIONS):
        _add_needless_flags(parser, command)
    _add_show_flags(parser)
    return parser


def _book() -> Book:
    """What pages about the commands are made of."""
    from facefusion.apps.manual import Book

    return Book(
        {**_COMMANDS, **_DRAFT_HELP}, _DRAFT_HELP, lambda name: _command_parser(name, is_whole=True), _EXIT_TEXT
    )


def _verify_text() -> str:
    from facefusion.apps.verify import EXIT_TEXT

    return f"{EXIT_TEXT}\n\n{_EXIT_TEXT}"


def _parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    # Names may stand behind options. What has none is read in the one way that keeps to the order.
    has_names = any(action.dest == "names" for action in parser._actions)
    arguments, unknown = (parser.parse_known_intermixed_args if has_names else parser.parse_known_args)(words)
    if unknown and not unknown[0].startswith("-"):
        # What a shell made of a pattern or a name: its first word went to the option, and here are the others.
        dests = {action.dest for action in parser._actions}
        hint = "A name with blanks is put into quotation marks"
        if dests.intersection(_PATTERNS):
            hint = "Patterns of files and names with blanks are put into quotation marks, such as -t 'clips/*.mp4'"
        elif "target_path" in dests:
            hint += "; several targets are done by facefusion batch-run -t 'clips/*.mp4'"
        raise UnknownOption(f"'{unknown[0]}' stands where no option has it.", f"{hint}. See {parser.prog} --help.")
    if unknown:
        from facefusion.declaration import suggest

        flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
        word = unknown[0].split("=")[0]
        _explain_missing(word)
        known = {flag.lstrip("-").replace("-", "_"): flag for flag in flags}
        near = suggest(word.lstrip("-"), list(known))
        if not near.startswith("Did you mean"):
            near = f"See {parser.prog} --help."
        near = _A_NAME.sub(lambda found: f"'{known[found[1]]}'" if found[1] in known else found[0], near)
        near = _OF_TIMES.get(near, near)
        if os.path.isfile(unknown[0]):
            hint = f"The file {unknown[0]} is written ./{unknown[0]} here."
            raise UnknownOption(f"There is no option '{word}'.", hint)
        raise UnknownOption(f"There is no option '{word}'.", near)
    return arguments


_A_NAME = re.compile(r"'(\w+)'")
_OF_TIMES = {
    "Did you mean '--start'?": "Did you mean '--start'? It says where the part begins, such as --start 01:30.",
    "Did you mean '--end'?": (
        "Did you mean '--end'? It says where the part ends, counted from the beginning of the target, such as "
        "--end 01:30."
    ),
}
"""What is said besides of options that other programs count otherwise."""


def _explain_missing(word: str) -> None:
    """Say what stands in for an option of FaceFusion 3 that is not here."""
    from facefusion.facefusion3 import check_not_missing

    check_not_missing(word.lstrip("-").replace("-", "_"), "command line")


def main(words: Sequence[str] | None = None) -> None:
    """Entry point of the command line; ends with an exit code (see ``--help``), and with no other exception."""
    words = list(sys.argv[1:] if words is None else words)
    console.repeat({})
    with stopping.watched(), console.prepared():
        try:
            code = _guarded(words)
            if failure := console.output_failure():
                console.say(f"facefusion: Standard output cannot be written: {failure}.", is_error=True)
                code = code or EXIT_OUTPUT
        except KeyboardInterrupt:  # while the end was told
            code = _stopped("--json" in words)
    raise SystemExit(code)


def _guarded(words: list[str]) -> int:
    """Do what the words say. Whatever is raised becomes a line or two, and an exit code."""
    is_json = "--json" in words
    try:
        return _choose(words)
    except SystemExit as end:  # of argparse, and of Celery
        return end.code if isinstance(end.code, int) else EXIT_OK if end.code is None else EXIT_UNEXPECTED
    except KeyboardInterrupt:
        return _stopped(is_json)
    except Exception as error:
        if stopping.is_stopping():
            return _stopped(is_json)
        return tell_exception(error, words, is_json)


def _stopped(is_json: bool) -> int:
    job_id, _ = job_in_hand()
    way_on = f"run the same command again to go on, or: facefusion jobs resume {job_id}"
    stopping.tell(console.typable(way_on) if job_id else "nothing was written", job_id, is_json)
    return EXIT_STOPPED


def _choose(words: list[str]) -> int:
    if words and words[0] in ("--version", "-v"):  # at once: help has to know much
        console.say(f"facefusion {__version__}")
        return EXIT_OK
    if not words or words[0] in ("-h", "--help"):
        _help_parser().print_help()
        return EXIT_OK if words else EXIT_USAGE
    if words[0].split("=")[0] in ("--completion", "--man"):
        from facefusion.apps.manual import completion, man_page

        asked = _help_parser().parse_args(words)
        console.say(man_page(_book()) if asked.man else completion(_book(), asked.completion))
        return EXIT_OK
    if words[0].startswith("-"):
        if found := _misplaced(words):
            rest = " ".join(word for word in words if word != found)
            raise RecipeError(
                f"The command comes first: facefusion {found} {rest}", f"See 'facefusion {found} --help'."
            )
        words = ["run", *words]
    command = words[0]
    if command not in _COMMANDS and command not in _DRAFT_ACTIONS:
        from facefusion.declaration import nearest
        from facefusion.facefusion3 import COMMANDS

        if command in COMMANDS:
            message, hint = COMMANDS[command]
            raise RecipeError(f"{message} (FaceFusion 3's '{command}')".replace(". (", " (") + ".", hint)
        near = nearest(command, (*_COMMANDS, *_DRAFT_ACTIONS))
        hint = f"Did you mean '{near}'?" if near else f"Commands: {', '.join(_COMMANDS)}."
        raise RecipeError(f"There is no command '{command}'.", hint)
    arguments = _parse(_command_parser(command), words[1:])
    return _run_command(command, vars(arguments))


_PLACES = ("jobs_path", "job_store", "broker", "storage")
"""Options that say where jobs are."""
_BARE = ("--json", "--quiet", "--debug")
"""Flags of every command that take no value."""


def _misplaced(words: Sequence[str]) -> str:
    """A command behind flags; empty where there is none, or where it is the value of one."""
    for before, word in pairwise(words):
        is_value = before.startswith("-") and before not in _BARE and "=" not in before
        if word in (*_COMMANDS, *_DRAFT_ACTIONS) and not is_value and not Path(word).exists():
            return word
    return ""


def _run_command(command: str, values: dict[str, Any]) -> int:
    from facefusion.apps.show import Mode, Show

    is_json, is_quiet = values.pop("json"), values.pop("quiet")
    values.pop("debug")
    mode: Mode = "json" if is_json else "quiet" if is_quiet else "bar"
    stopping.work_begins()
    with Show(mode) as show, warnings.catch_warnings():
        warnings.showwarning = show.note
        return _dispatch(command, values, show)


def working_folder() -> Path | None:
    """Where this process is; None where that folder is gone."""
    try:
        return Path.cwd()
    except OSError:
        return None


_WORDS = (
    "action", "names", "key", "trust", "at_s", "picture_path", "is_beside", "limit", "after", "statuses", "queues",
    "name", "drain", "camera", "camera_size", "camera_rate", "camera_format", "seconds", "every_frame", "clip_path",
    "tenant", "scopes", "expires", "note", "grace", "person", "uses", "for_processors", "tenants", "models",
    "valid_from", "valid_until", "release_path", "is_exact",
    "family", "model_id", "licence", "licence_source", "commercial", "vendor", "template", "is_replacing", *data.WORDS,
)  # fmt: skip
"""What is said to a command and is no option."""


def _dispatch(command: str, values: dict[str, Any], show: Any) -> int:
    config_path = values.pop("config_path", None)
    show_config = values.pop("show_config", False)
    from facefusion.facefusion3 import part_needless
    from facefusion.recipe import build_recipe, with_absolute_paths
    from facefusion.settings import (
        COMMAND_LINE,
        JobSettings,
        OperationSettings,
        PolicySettings,
        RemoteSettings,
        ServerSettings,
        build_settings,
        config_files,
        load_options,
        naming_origins,
        setting_fields,
    )

    words: dict[str, Any] = {name: values.pop(name) for name in _WORDS if name in values}
    tracks_path: Path | None = values.pop("tracks_path", None)
    folder = working_folder()
    options = load_options(
        {k: v for k, v in values.items() if v or k not in _PATTERNS}, os.environ, folder, config_path
    )
    places = {"config_path": config_path} if config_path else {}
    places |= {name: one.value for name, one in options.items() if name in _PLACES and one.origin == COMMAND_LINE}
    console.repeat({f"--{name.replace('_', '-')}": value for name, value in places.items()})
    read = [("configuration", path) for path in config_files(folder, os.environ, config_path)]
    found = {name: sourced.value for name, sourced in options.items()}
    patterns = [str(found.pop(name, "")) for name in _PATTERNS]
    is_halting = command in _HALTING and str(found.pop("halt_on_error", "")).lower() not in ("", "false", "0", "no")
    found, note = part_needless(found)
    if note:
        show.note(note)
    options = {name: sourced for name, sourced in options.items() if name in found}
    with naming_origins(options):
        recipe = build_recipe({name: value for name, value in found.items() if name not in setting_fields()})
        settings = build_settings(JobSettings, found)
        said = build_settings(PolicySettings, found)
        operation = build_settings(OperationSettings, found)
        if not show_config and (command in _OF_RECIPES or command in ("people", "models", "doctor", "serve", "worker")):
            from facefusion.models.store import check_places

            check_places(recipe.models_paths)
    recipe = _with_photos(recipe)
    if command in (*_OF_RECIPES, "people", "report") and command != "batch-run" and not show_config:
        if command == "report":
            words["measured_path"] = _as_clip(words["measured_path"], recipe)
        recipe = _with_clips(recipe)
    recipe = with_absolute_paths(recipe)
    if command not in ("serve", "worker"):
        _follow_level(operation.log_level if "log_level" in options else "", show)
    if show_config:
        _show_config(recipe, settings, said, options, show)
        return EXIT_OK
    from facefusion.apps.backends import backend_of, policy_of

    policy = policy_of(said)

    if command == "models":
        from facefusion.apps.models import run_models

        action, names, key, trusted = (words.pop(name) for name in ("action", "names", "key", "trust"))
        return run_models(action, names, recipe, key, trusted, show, words)
    if command in ("jobs", "worker") or command in _DRAFT_ACTIONS:
        from facefusion.apps import jobs

        given = {name: sourced.value for name, sourced in options.items() if sourced.origin == COMMAND_LINE}
        words["is_halting"] = is_halting
        return jobs.run_command(command, words, recipe, settings, policy, given, show, operation)
    if command == "serve":
        from facefusion.apps.serve import run_server

        with naming_origins(options):
            serving = build_settings(ServerSettings, found)
        return run_server(recipe, settings, serving, policy, show, operation)
    if command == "keys":
        from facefusion.apps.keys import run_keys

        return run_keys(words, settings, show)
    if command in ("consent", "blocklist"):
        from facefusion.apps import consent

        do_policy = consent.run_consent if command == "consent" else consent.run_blocklist
        return do_policy(words, policy, show)
    if command in ("processors", "plugins"):
        from facefusion.apps import plugins

        do = plugins.run_processors if command == "processors" else plugins.run_plugins
        return do(words["action"], words["names"], recipe, show)
    if command == "source":
        from facefusion.apps.source import run_source

        return run_source([Path(name) for name in words["names"]], words["picture_path"], recipe, show)
    if command == "doctor":
        from facefusion.apps.doctor import run_doctor

        return run_doctor(recipe, policy, backend_of(settings, policy), show)
    if command == "verify" and words["release_path"] is not None:
        from facefusion.apps.release import run_release

        if words["names"]:
            raise RecipeError("A release and files are verified apart.", "Leave out the files, or --release.")
        return run_release(words["release_path"], words["trust"], show)
    if command == "verify":
        from facefusion.apps.verify import run_verify

        files = [Path(name) for name in words["names"]]
        return run_verify(files, words["trust"], backend_of(settings, policy), show)

    with naming_origins(options):
        remote = build_settings(RemoteSettings, found)
    if remote.server and command in ("run", "headless-run"):
        from facefusion.apps.remote import run_remote

        given = {name: sourced.value for name, sourced in options.items() if sourced.origin == COMMAND_LINE}
        return run_remote(recipe, remote.server, remote.server_key, given, read, show)

    if command in ("run", "headless-run") and recipe.target_path != Path() and recipe.target_path.is_dir():
        # Sources go together here, where a batch would try each of them.
        patterns, command = ["", str(recipe.target_path), _folder_of(recipe)], "batch-run"
    if command == "batch-run":
        from facefusion.apps.batch import run_batch

        return run_batch(recipe, settings, policy, patterns[0], patterns[1], patterns[2], show, read, is_halting)

    if command in data.COMMANDS:
        return data.run_data(command, recipe, words, tracks_path, show, read)
    if command in ("analyse", "render"):
        from facefusion.apps import passes

        assert tracks_path is not None
        if command == "analyse":
            return passes.run_analyse(recipe, tracks_path, words, show, read)
        return passes.run_render(recipe, tracks_path, policy, show, read)
    if command == "preview":
        from facefusion.apps.passes import run_preview, run_preview_of_job

        if words["names"]:
            return run_preview_of_job(recipe, words, tracks_path, backend_of(settings, policy), show)
        return run_preview(recipe, words, tracks_path, policy, show, read)
    if command == "live":
        from facefusion.apps.live import run_live

        return run_live(recipe, words, policy, show, read)

    from facefusion.apps.jobs import run_recipe
    from facefusion.pipeline.plan import check_paths

    check_paths(recipe, reads=read)
    show.outcome(run_recipe(recipe, settings, policy, show))
    return EXIT_OK


def _with_photos(recipe: Any) -> Any:
    """The recipe with the photos of folders in the place of these."""
    if not any(path.is_dir() for path in recipe.source_paths):
        return recipe
    from facefusion.service.batch import find_photos

    found = [find_photos(path) if path.is_dir() else (path,) for path in recipe.source_paths]
    return recipe.with_options(source_paths=tuple(path for photos in found for path in photos))


def _with_clips(recipe: Any) -> Any:
    """The recipe with a clip in the place of numbered pictures."""
    if "%" not in f"{recipe.target_path}{recipe.output_path}" and recipe.target_path.is_file():
        return recipe  # nothing heavy is imported for it
    from facefusion.service.sequences import settle_sequences

    return settle_sequences(recipe)


def _as_clip(path: Path, recipe: Any) -> Path:
    """A clip of numbered pictures that are to be measured."""
    if path.is_file() and path.suffix != ".frames":
        return path
    from facefusion.service.sequences import as_clip

    return as_clip(path, recipe)


def _folder_of(recipe: Any) -> str:
    """The folder that outputs of a folder go to.

    Raises
    ------
    RecipeError
        Where a file is named.
    """
    from facefusion.service.batch import is_folder

    if recipe.output_path == Path():
        raise RecipeError("No output is given.", "Name a folder with --output.")
    if not is_folder(str(recipe.output_path)) and "{" not in str(recipe.output_path):
        raise RecipeError(
            f"The target {recipe.target_path} is a folder, and the output {recipe.output_path} is not.",
            "Name a folder with --output.",
        )
    return str(recipe.output_path)


def _follow_level(level: str, show: Any) -> None:
    """Tell as much as was asked for."""
    from facefusion.apps import faults

    faults.debug(level == "debug")
    if level == "error":
        show.be_quiet()
    elif level == "debug":
        from facefusion import journal

        journal.set_up("text", "debug")


def _show_config(recipe: Any, settings: Any, policy: Any, options: Any, show: Any) -> None:
    """Tell every option with where it comes from, as a configuration file; passwords in addresses are hidden."""
    from facefusion.apps.manual import config_text
    from facefusion.recipe import INNER
    from facefusion.service.values import Options, OptionValue
    from facefusion.wording import plain_without_secrets

    found = []
    for step in (*recipe.steps, *recipe.presets):
        for name, value in step.options:
            key = step.spec.key(name)
            origin = options[key].origin if key in options else "steps" if "steps" in options else "default"
            found.append(OptionValue(step.processor, key, plain_without_secrets(value), origin))
    for model in (recipe, settings, policy):
        plain = model.model_dump(mode="json", exclude=set(INNER))
        for name in type(model).model_fields:
            if name in INNER or name == "blocklist_key":
                continue
            origin = options[name].origin if name in options else "default"
            found.append(OptionValue("", name, plain_without_secrets(plain[name]), origin))
    chain = next((options[name].origin for name in ("processors", "steps") if name in options), "default")
    show.answer("options", Options(tuple(found)), config_text(recipe, found, chain))
