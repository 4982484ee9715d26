"""Promotions, rollbacks and copies at the same moment: one id for one segment, one champion."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import pytest
from mlflow import MlflowClient

from portable_models import new_store
from promotions import RULES, Registry, make_registry
from segmentation.errors import GateRefused, RegistryError
from segmentation.model.integrity import COMPILED, FILES_TAG, digests
from segmentation.registry import aliases, assessment, lineage, locking, promotion, versions


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Iterator[Registry]:
    uri, _ = new_store(tmp_path_factory)
    yield make_registry(uri, "customers", tmp_path_factory.mktemp("scratch"))
    mlflow.set_tracking_uri(None)


@pytest.fixture
def name(request) -> str:
    """A registered model of the test's own, as all tests share the store."""
    return request.node.name.replace("/", "-")


def by_folder(patch: pytest.MonkeyPatch) -> None:
    """As on an SQLite store."""


def by_tags(patch: pytest.MonkeyPatch) -> None:
    """As on a server, and where a folder cannot be locked."""
    patch.setattr(locking, "_lock", lambda folder, name: None)


def not_at_all(patch: pytest.MonkeyPatch) -> None:
    """As with a program that takes no part in the locking."""
    patch.setattr(locking, "exclusive", lambda *_: contextlib.nullcontext(lambda: None))


class Meeting:
    """Holds whoever moves `champion` until another is about to, or for a moment."""

    def __init__(self, patch: pytest.MonkeyPatch, seconds: float = 0.03) -> None:
        self.barrier, self.met = threading.Barrier(2), 0
        move = MlflowClient.set_registered_model_alias

        def moved(client: MlflowClient, name: str, alias: str, version: str) -> None:
            if alias == "champion":
                with contextlib.suppress(threading.BrokenBarrierError):
                    self.barrier.wait(seconds)
                    self.met += 1
                self.barrier.reset()
            move(client, name, alias, version)

        patch.setattr(MlflowClient, "set_registered_model_alias", moved)


def at_once(*actions: Callable[[], aliases.Promotion]) -> list[aliases.Promotion | GateRefused]:
    """Start all actions at the same moment; return what each returned or raised."""
    start = threading.Barrier(len(actions))

    def run(action: Callable[[], aliases.Promotion]) -> aliases.Promotion | GateRefused:
        start.wait()
        try:
            return action()
        except GateRefused as error:
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def check_both_won(registry: Registry, name: str, done: Sequence[object]) -> None:
    """Both became champion one after the other, and no segment has the id of another."""
    given = [segment for ids in registry.ids(name).values() for segment in ids]
    assert len(given) == len(set(given)) == 9, registry.ids(name)
    first, last = sorted(
        (one for one in done if isinstance(one, aliases.Promotion)), key=lambda one: one.version
    )
    # Each was compared with the champion that it replaced.
    assert (first.previous, last.previous) == (1, first.version)
    assert registry.client.get_registered_model(name).aliases == {
        "champion": last.version,
        "previous": first.version,
    }


@pytest.mark.parametrize("hold", [by_folder, by_tags, not_at_all])
def test_two_promotions_at_once(registry: Registry, name, hold, monkeypatch) -> None:
    for number in range(2):
        model = f"{name}-{number}"
        registry.first(model)
        with monkeypatch.context() as patch:
            hold(patch)
            Meeting(patch)
            done = at_once(
                lambda model=model: registry.promote(1, model),
                lambda model=model: registry.promote(2, model),
            )
        check_both_won(registry, model, done)


@pytest.mark.slow
def test_two_promotions_at_once_fifty_times(registry: Registry, name, monkeypatch) -> None:
    """The registry's part alone: each challenger is assessed once, its ids are chosen anew."""
    registry.first(name)
    assessed = {run: registry.assess(run, name) for run in (1, 2)}
    monkeypatch.setattr(promotion, "promotion_items", lambda *_: [])
    tags = {"segment_ids": "[0, 1, 2]", "next_segment_id": "3"}
    meeting = Meeting(monkeypatch, 0.01)

    def promote(run: int, model: str) -> aliases.Promotion:
        for _ in range(promotion.ATTEMPTS):
            standing = versions.standing(registry.client, model)
            used = standing.next_segment_id
            found = lineage.all_new(assessed[run].lineage.retired, 3, used=used)
            folder = replace(assessed[run].folder, ids=found.ids)
            one = replace(
                assessed[run],
                name=model,
                standing=standing,
                lineage=found,
                folder=folder,
                relabelled=False,
                names=dict.fromkeys((*found.ids, *found.retired), "s"),
                counts=None,
            )
            with contextlib.suppress(versions.Overtaken):
                return promotion.promote(registry.store, one, override="agreed")
        raise GateRefused("overtaken too often")

    for number in range(50):
        model = f"{name}-{number}"
        aliases.promote(registry.runs[0], tracking_uri=registry.store.uri, name=model, tags=tags)
        done = at_once(lambda model=model: promote(1, model), lambda model=model: promote(2, model))
        check_both_won(registry, model, done)
    # The barrier stands between them: alone, nobody gets past it before its time is up.
    assert meeting.met == 0


@pytest.mark.parametrize("hold", [by_folder, by_tags])
def test_a_rollback_and_a_copy_during_a_promotion(registry, name, hold, monkeypatch) -> None:
    there = f"prod.{name}"
    registry.first(name)
    registry.promote(1, name)
    aliases.copy_champion(tracking_uri=registry.store.uri, name=name, copy_to=there)
    for run in (2, 3):
        with monkeypatch.context() as patch:
            hold(patch)
            Meeting(patch)
            promoted, back, _ = at_once(
                lambda run=run: registry.promote(run, name),
                lambda: aliases.rollback(tracking_uri=registry.store.uri, name=name),
                lambda: aliases.copy_champion(
                    tracking_uri=registry.store.uri, name=name, copy_to=there
                ),
            )
        found = registry.client.get_registered_model(name).aliases
        assert set(found) == {"champion", "previous"}
        assert found["champion"] != found["previous"]
        # One followed the other: the later one started from where the earlier one ended.
        assert promoted.previous == back.version or back.previous == promoted.version
        assert found["champion"] in (promoted.version, back.version)
        copies = registry.client.get_registered_model(there).aliases
        assert copies["champion"] != copies.get("previous")


def test_an_assessment_of_an_earlier_champion_is_not_promoted(registry: Registry, name) -> None:
    registry.first(name)
    assessed = [registry.assess(run, name) for run in (1, 2)]
    assert assessed[0].lineage.ids == assessed[1].lineage.ids
    promotion.promote(registry.store, assessed[0], override="first")
    with pytest.raises(versions.Overtaken, match=r"version 2 .* compared with version 1.*again"):
        promotion.promote(registry.store, assessed[1], override="second")
    assert registry.champion(name) == 2
    assert len(registry.ids(name)) == 2
    # Rolled back, the champion is the same again, but the ids have been given.
    before = registry.client.get_run(registry.runs[2]).data.tags
    aliases.rollback(tracking_uri=registry.store.uri, name=name)
    with pytest.raises(versions.Overtaken, match="ids must not be given again"):
        promotion.promote(registry.store, assessed[1], override="second")
    # The run is as it was.
    assert registry.client.get_run(registry.runs[2]).data.tags == before
    assert registry.promote(2, name).version == 3
    assert registry.ids(name)[3] == [6, 7, 8]


def test_an_alias_moved_by_another_program_is_noticed(registry, name, monkeypatch) -> None:
    """The MLflow UI takes no part in the locking: checked before and after the move."""
    registry.first(name)
    registry.promote(1, name)
    move = MlflowClient.set_registered_model_alias

    def interfere(when: str) -> None:
        def moved(client: MlflowClient, model: str, alias: str, version: str) -> None:
            if alias == "challenger" and when == "before":
                move(client, model, "champion", "1")
            move(client, model, alias, version)
            if alias == "champion" and when == "after":
                move(client, model, "champion", "1")

        patch.setattr(MlflowClient, "set_registered_model_alias", moved)

    for when in ("before", "after"):
        with monkeypatch.context() as patch:
            interfere(when)
            with pytest.raises(GateRefused):
                registry.promote(2, name, again=False)
        assert registry.client.get_registered_model(name).aliases.get("challenger") is None
        assert registry.champion(name) == 1
        aliases.rollback(tracking_uri=registry.store.uri, name=name)
        if registry.champion(name) == 1:
            move(registry.client, name, "champion", "2")


def test_ids_of_deleted_versions_are_not_given_again(registry: Registry, name) -> None:
    registry.first(name)
    registry.promote(1, name)
    aliases.rollback(tracking_uri=registry.store.uri, name=name)
    registry.client.delete_model_version(name, "2")
    registry.promote(2, name)
    assert registry.ids(name)[3] == [6, 7, 8]


def test_ids_of_a_run_come_back_unless_they_were_never_its_own(registry: Registry, name) -> None:
    """What a promotion without evidence took over from another model is not the run's."""
    registry.first(name)
    registry.promote(1, name)
    registry.promote(2, name)
    client = registry.client
    standing = versions.standing(client, name)
    assert standing.earlier_ids(registry.runs[1]) == {0: 3, 1: 4, 2: 5}
    # As version 0.1.0 left it: 3 is kept from the champion, 5 is new.
    fates = [{"segment": one, "lineage": "same", "was": [one]} for one in (3, 4)]
    fates.append({"segment": 5, "lineage": "new", "was": []})
    client.set_model_version_tag(name, "2", "lineage", json.dumps(fates))
    client.delete_model_version_tag(name, "2", "promotion")
    assert versions.standing(client, name).earlier_ids(registry.runs[1]) == {2: 5}
    # As a promotion leaves it that was killed after another had chosen the same ids.
    client.set_model_version_tag(name, "3", "promotion", versions.UNFINISHED)
    assert versions.standing(client, name).earlier_ids(registry.runs[2]) == {0: 6, 1: 7, 2: 8}
    client.set_model_version_tag(name, "3", versions.KNOWN, "1")
    standing = versions.standing(client, name)
    assert standing.earlier_ids(registry.runs[2]) == {}
    assert standing.same_version(registry.runs[2], {"segment_ids": "[6, 7, 8]"}) is None
    assert standing.next_segment_id == 9


@pytest.mark.parametrize("how", ["version deleted", "alias removed"])
def test_ids_are_not_given_again_after_the_champion_is_gone(registry, name, how) -> None:
    registry.first(name)
    registry.promote(1, name)
    if how == "version deleted":
        registry.client.delete_model_version(name, "2")
    else:
        registry.client.delete_registered_model_alias(name, "champion")
    done = registry.promote(2, name)
    assert (done.version, done.previous) == (3, None)
    assert registry.ids(name)[3] == [6, 7, 8]
    assert versions.standing(registry.client, name).next_segment_id == 9
    # A run whose segments had ids before gets them back.
    registry.client.delete_registered_model_alias(name, "champion")
    registry.promote(0, name)
    assert registry.ids(name)[1] == [0, 1, 2]
    assert registry.client.get_registered_model(name).tags["next_segment_id"] == "9"


def copy_of(registry: Registry, name: str, version: str) -> tuple[str, Path]:
    """Return the id and the folder of a version's logged model."""
    source = registry.client.get_model_version(name, version).source
    logged = registry.client.get_logged_model(source.removeprefix("models:/"))
    assert logged.name == "promoted"
    return logged.model_id, Path(unquote(urlsplit(logged.artifact_location).path))


def test_a_copy_that_becomes_the_champion_again_is_checked(registry: Registry, name) -> None:
    for run in (0, 1, 2):
        registry.promote(run, name)
    model_id, folder = copy_of(registry, name, "2")
    segments = folder / "artifacts" / "segments.json"
    before = segments.read_bytes()
    segments.write_bytes(before.replace(b"b0", b"best"))
    with pytest.raises(RegistryError, match=r"changed: artifacts/segments\.json"):
        registry.promote(1, name)
    assert registry.champion(name) == 3
    segments.write_bytes(before)
    # As an earlier version of this project left the copy.
    client, store = registry.client, registry.store
    files = client.get_logged_model(model_id).tags[FILES_TAG]
    client.delete_logged_model_tag(model_id, FILES_TAG)
    with pytest.raises(RegistryError, match="add trust=true"):
        registry.promote(1, name)
    scratch = registry.scratch / name
    assessed = assessment.assess(
        store, registry.runs[1], name=name, rules=RULES, scratch=scratch, trust=True
    )
    assert promotion.promote(store, assessed, override="agreed").version == 2
    assert client.get_logged_model(model_id).tags[FILES_TAG] == files


def test_a_copy_is_logged_without_compiled_code(registry: Registry, name) -> None:
    registry.first(name)
    assessed = registry.assess(1, name)
    compiled = assessed.folder.path / COMPILED
    compiled.mkdir(exist_ok=True)
    (compiled / "segment_model.cpython-311.pyc").touch()
    promotion.promote(registry.store, assessed, override="agreed")
    model_id, folder = copy_of(registry, name, "2")
    assert not [*folder.rglob(COMPILED)]
    logged = registry.client.get_logged_model(model_id)
    assert json.loads(logged.tags[FILES_TAG]) == digests(folder)


def test_a_run_does_not_say_promoted_if_the_champion_has_changed(
    registry: Registry, name, monkeypatch
) -> None:
    registry.first(name)
    registry.promote(1, name)
    assessed, register = registry.assess(2, name), promotion._register

    def moved(*given: object) -> object:
        version = register(*given)
        registry.client.set_registered_model_alias(name, "champion", "1")
        return version

    monkeypatch.setattr(promotion, "_register", moved)
    before = registry.client.get_run(registry.runs[2])
    said = "version 1 .* in the meantime; before, it was version 2"
    with pytest.raises(versions.Overtaken, match=said):
        promotion.promote(registry.store, assessed, override="agreed")
    assert registry.client.get_run(registry.runs[2]).data.tags == before.data.tags
    assert registry.client.get_model_version(name, "3").tags["promotion"] == versions.UNFINISHED
    assert registry.client.get_registered_model(name).aliases == {"champion": 1, "previous": 1}


def test_a_rollback_that_lost_its_hold_changes_nothing(registry, name, monkeypatch) -> None:
    registry.first(name)
    registry.promote(1, name)

    def lost() -> None:
        raise versions.Overtaken("given to another process")

    def state() -> tuple[object, ...]:
        client = registry.client
        tags = [client.get_model_version(name, number).tags for number in "12"]
        return client.get_registered_model(name).aliases, tags

    before = state()
    monkeypatch.setattr(locking, "exclusive", lambda *_: contextlib.nullcontext(lost))
    with pytest.raises(versions.Overtaken):
        aliases.rollback(tracking_uri=registry.store.uri, name=name)
    assert state() == before
