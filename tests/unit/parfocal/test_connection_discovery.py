from __future__ import annotations

import json
from pathlib import Path

import pytest

from parfocal import UnavailableError
from parfocal._connection import endpoint


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "server.json").write_text(json.dumps({"address": "127.0.0.1:4711"}))
    (tmp_path / "token").write_text("secret\n")
    return tmp_path


def test_the_running_server_of_the_data_folder_is_found_with_its_token(data: Path) -> None:
    found = endpoint(environment={"PARFOCAL_DATA_DIR": str(data)})

    assert (found.address, found.token, found.tls) == ("127.0.0.1:4711", "secret", False)


def test_the_server_that_the_environment_names_comes_before_the_data_folder(data: Path) -> None:
    variables = {
        "PARFOCAL_DATA_DIR": str(data),
        "PARFOCAL_SERVER": "lab:50051",
        "PARFOCAL_TOKEN": "other",
    }

    found = endpoint(environment=variables)

    assert (found.address, found.token) == ("lab:50051", "other")


def test_what_is_given_comes_before_the_environment(data: Path) -> None:
    found = endpoint(
        "here:1",
        token="mine",
        environment={"PARFOCAL_SERVER": "lab:50051", "PARFOCAL_TOKEN": "other"},
    )

    assert (found.address, found.token) == ("here:1", "mine")


def test_a_data_folder_that_is_given_comes_before_the_environment(data: Path) -> None:
    found = endpoint(data_dir=data, environment={"PARFOCAL_SERVER": "lab:50051"})

    assert found.address == "127.0.0.1:4711"


def test_the_local_token_goes_to_the_local_server_only(data: Path) -> None:
    variables = {"PARFOCAL_DATA_DIR": str(data)}

    assert endpoint("127.0.0.1:4711", environment=variables).token == "secret"
    assert endpoint("lab:50051", environment=variables).token == ""


def test_an_address_may_ask_for_tls() -> None:
    found = endpoint("https://lab:443/", environment={})

    assert (found.address, found.tls, found.ca_file) == ("lab:443", True, "")


def test_the_link_that_a_server_prints_is_an_address_with_its_token() -> None:
    found = endpoint("grpc://127.0.0.1:4711/?token=a-b_c", environment={"PARFOCAL_TOKEN": "other"})

    assert (found.address, found.token, found.tls) == ("127.0.0.1:4711", "a-b_c", False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "lab"])
def test_a_link_without_its_scheme_does_not_show_its_token(host: str) -> None:
    found = endpoint(f"{host}:4711/?token=a-b_c", environment={})

    assert (found.address, found.token, found.tls) == (f"{host}:4711", "a-b_c", False)


@pytest.mark.parametrize("target", ["dns:///labels:50051", "unix:/run/parfocal", "lab:50051"])
def test_names_of_grpc_pass_as_they_are(target: str) -> None:
    assert endpoint(target, environment={}).address == target


def test_an_authorities_file_means_tls() -> None:
    found = endpoint("lab:443", environment={"PARFOCAL_CA_FILE": "ca.pem"})

    assert (found.tls, found.ca_file) == (True, "ca.pem")


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"address": 3}'])
def test_without_a_server_it_says_how_to_get_one(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "server.json").write_text(content)

    with pytest.raises(UnavailableError, match=r"start one with `parfocal up`"):
        endpoint(data_dir=tmp_path, environment={})


def test_a_token_does_not_show_in_a_printed_endpoint(data: Path) -> None:
    assert "secret" not in repr(endpoint(data_dir=data, environment={}))
