from __future__ import annotations

import errno
import fcntl
import threading

import mlflow
import pytest

from portable_models import new_store
from segmentation.errors import RegistryError
from segmentation.registry import locking
from segmentation.registry.versions import Overtaken

NAME = "held"


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    uri, _ = new_store(tmp_path_factory)
    mlflow.MlflowClient(uri).create_registered_model(NAME)
    yield uri
    mlflow.set_tracking_uri(None)


@pytest.fixture
def client(uri):
    return mlflow.MlflowClient(uri)


def tags(client) -> dict[str, str]:
    return dict(client.get_registered_model(NAME).tags)


@pytest.fixture(params=["folder", "tags"])
def hold(request, uri, client, monkeypatch):
    """Hold by the folder of the database, or by tags where the file system has no locks."""
    if request.param == "tags":

        def unsupported(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", unsupported)
    return lambda: locking.exclusive(client, uri, NAME)


def test_one_at_a_time(hold, client) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(3):
            with hold() as check:
                inside.append(1)
                most.append(len(inside))
                check()
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 9
    assert tags(client) == {}


def test_released_after_an_error(hold, client) -> None:
    with pytest.raises(ZeroDivisionError), hold():
        raise ZeroDivisionError
    with hold():
        pass
    assert tags(client) == {}


def test_whoever_waits_too_long_is_told(hold, monkeypatch) -> None:
    monkeypatch.setattr(locking, "WAIT", 0.2)
    with (
        hold(),
        pytest.raises(RegistryError, match=r"'held' for 0\.2 seconds; run the command again"),
        hold(),
    ):
        pass


def test_a_claim_left_behind_ends(client, monkeypatch) -> None:
    monkeypatch.setattr(locking, "LEASE", 0.3)
    client.set_registered_model_tag(NAME, f"{locking.CLAIM}killed", "somebody")
    with locking._claimed(client, NAME):
        assert len(tags(client)) == 1
    assert tags(client) == {}


def test_whoever_lost_the_hold_notices(client) -> None:
    with locking._claimed(client, NAME) as check:
        check()
        for tag in tags(client):
            client.delete_registered_model_tag(NAME, tag)
        with pytest.raises(Overtaken, match="stood still"):
            check()
