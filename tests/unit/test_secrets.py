"""Passwords in addresses are nowhere printed, whoever repeats the address."""

import json

import pytest

from facefusion.apps import cli
from facefusion.errors import FaceFusionError, RecipeError, own_error
from facefusion.jobs.storage import ObjectStorage
from facefusion.jobs.store import JobStore
from facefusion.models.store import ModelStore
from facefusion.server.pace import Pace
from facefusion.service.backend import Backend
from facefusion.service.cluster import check_cluster
from facefusion.wording import plain_without_secrets, without_secrets

WORD = "hunter22"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgres://u:hunter22@host/db", "postgres://u:***@host/db"),
        ("redis://:hunter22@host:6379/0", "redis://:***@host:6379/0"),
        ("s3://KEY:hunter22/x+@y@bucket/models", "s3://KEY:***@bucket/models"),
        ("https://hunter22@host/x", "https://***@host/x"),
        ("https://host/c?sv=1&sig=hunter22&x=2", "https://host/c?sv=1&sig=***&x=2"),
        ("postgresql://host/db?user=u&password=hunter22", "postgresql://host/db?user=u&password=***"),
        ("https://b/x?X-Amz-Signature=hunter22", "https://b/x?X-Amz-Signature=***"),
        ("amqp://u:hunter%32%32@h: the password hunter22 is wrong", "amqp://u:***@h: the password *** is wrong"),
        ("https://huggingface.co/a@b/x.onnx", "https://huggingface.co/a@b/x.onnx"),
        ("http://127.0.0.1:5000/a@b", "http://127.0.0.1:5000/a@b"),
        ("file:///a/b.mp4 and s3://bucket/a.bin", "file:///a/b.mp4 and s3://bucket/a.bin"),
    ],
)
def test_an_address_is_shown_without_what_is_secret_of_it(address, shown):
    assert without_secrets(address) == shown
    assert plain_without_secrets({"a": [address]}) == {"a": [shown]}


def test_what_a_library_quotes_of_an_address_is_hidden_too():
    told = without_secrets("There is none at redis://:pa/ss22@host: Port could not be cast to integer value as 'pa'.")
    assert "pa" not in told.replace("is none at", "") or "'***'" in told
    assert "ss22" not in told and "'pa'" not in told


def message_of(function):
    with pytest.raises(FaceFusionError) as caught:
        function()
    return f"{caught.value} {caught.value.hint} {caught.value.args}"


@pytest.mark.parametrize(
    "function",
    [
        lambda: JobStore(f"postgres://u:{WORD}@host/db"),
        lambda: JobStore(f"postgresql+psycopg://u:{WORD}@host:port/db"),
        lambda: JobStore(f"postgresql+psycopg://u:{WORD}@host:99999/db"),
        lambda: check_cluster(Backend(None, "x", f"redis://u:{WORD}@host:port", "y")),
        lambda: check_cluster(Backend(None, "x", f"amqp://u:{WORD}@host:port", "y")),
        lambda: check_cluster(Backend(None, "x", f"nothing://u:{WORD}@host", "y")),
        lambda: check_cluster(Backend(None, "x", f"redis://u:{WORD}/x@host", "y")),
        lambda: Pace(f"nothing://u:{WORD}@host"),
    ],
)
def test_a_setting_that_is_wrong_is_told_without_its_password(function):
    assert WORD not in message_of(function)


@pytest.mark.parametrize("scheme", ["foo", "s3", "az"])
def test_storage_that_is_wrong_is_told_without_its_keys_and_without_a_dump(tmp_path, scheme):
    pytest.importorskip("obstore")
    place = f"{scheme}://KEY:{WORD}/x@bucket"
    told = message_of(lambda: ObjectStorage(place, tmp_path))
    assert WORD not in told and "Debug source" not in told and "\n" not in told
    store = ModelStore((place,), home=tmp_path)
    spec = next(spec for spec in store.catalog().values() if spec.origin != "embedded")
    told = message_of(lambda: store.find(spec))
    assert WORD not in told and "\n" not in told


def test_a_fault_of_a_library_that_repeats_an_address_tells_no_password():
    try:
        raise ValueError(f"cannot reach postgresql://u:{WORD}@host")
    except ValueError as error:
        fault = own_error(error)
    assert WORD not in f"{fault} {fault.trace}"


def test_the_configuration_that_is_shown_holds_no_password(capsys):
    words = (
        "--job-store", f"postgresql+psycopg://u:{WORD}@h/d", "--broker", f"redis://:{WORD}@h", "--storage",
        f"s3://KEY:{WORD}@bucket", "--models-path", f"s3://K:{WORD}@models",
    )  # fmt: skip
    for form in ((), ("--json",)):
        with pytest.raises(SystemExit) as end:
            cli.main(["run", "--show-config", *form, *words])
        said = capsys.readouterr()
        assert not end.value.code, said.err
        assert WORD not in said.out + said.err
        assert "u:***@h/d" in said.out


def test_a_job_store_whose_port_is_none_is_no_fault_of_ours():
    with pytest.raises(RecipeError, match=r"There can be no job store at postgresql\+psycopg://u:\*\*\*@host"):
        JobStore(f"postgresql+psycopg://u:{WORD}@host:port/db")
    assert json.dumps(RecipeError("x", f"redis://:{WORD}@h").hint) == '"redis://:***@h"'
