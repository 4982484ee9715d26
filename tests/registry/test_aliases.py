from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import pytest

from portable_models import customers, new_store, portable
from segmentation.errors import RegistryError
from segmentation.model import flavor
from segmentation.model.integrity import FILES_TAG
from segmentation.registry.aliases import copy_champion, promote, rollback
from segmentation.registry.versions import MODEL_NAME, champion_version, standing


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    yield new_store(tmp_path_factory)
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def uri(store) -> str:
    return store[0]


@pytest.fixture(scope="module")
def client(uri):
    return mlflow.MlflowClient(uri)


@pytest.fixture(scope="module")
def new_run(store, client):
    """Make a run as a fit leaves it; its model names the segments ``<prefix>0``, ...."""
    frame = customers()
    model = portable(frame)

    def make(*, status="FINISHED", structure="yes", prefix="s", models=1) -> str:
        tags = {"features": "age_income", "scaling": "standard", "data_sha256": "ab" * 32}
        run = client.create_run(store[1], tags={**tags, "structure": structure})
        run_id = run.info.run_id
        client.log_metric(run_id, "k", 3)
        client.log_metric(run_id, "silhouette", 0.554657)
        for number in range(models):
            names = [f"{prefix}{number}{i}" for i in range(3)]
            named = replace(model, segment_names=names)
            flavor.log(named, client=client, run=client.get_run(run_id))
        if status != "RUNNING":
            client.set_terminated(run_id, status)
        return run_id

    return make


@pytest.fixture
def name(request) -> str:
    """A registered model of the test's own, as all tests share the store."""
    return request.node.name


def test_first_promotion_makes_the_champion_loadable(uri, client, new_run, name):
    run_id = new_run()
    done = promote(run_id, tracking_uri=uri, name=name)
    assert (done.version, done.previous, done.run_id) == (1, None, run_id)
    assert client.get_registered_model(name).aliases == {"champion": 1}
    frame = customers(5)
    answer = mlflow.pyfunc.load_model(done.uri).predict(frame)
    index = mlflow.sklearn.load_model(done.uri).predict(frame)
    assert answer["segment"].tolist() == index.tolist()


def test_version_can_be_read_by_somebody_who_was_not_there(uri, client, new_run, name):
    run_id = new_run()
    tags = {"segment_ids": "[4, 2]"}
    promote(run_id, tracking_uri=uri, name=name, tags=tags, description="Mind the **gap**.")
    version = champion_version(client, name)
    assert version.run_id == run_id
    assert version.tags == {
        "segment_ids": "[4, 2]",
        "run_id": run_id,
        "promotion": "unchecked",
        "k": "3",
        "features": "age_income",
        "scaling": "standard",
        "structure": "yes",
        "data_sha256": "ab" * 32,
    }
    for said in (
        "3 customer segments",
        "age_income",
        "standard",
        "0.555",
        run_id,
        "Mind the **gap**.",
    ):
        assert said in version.description
    assert "champion" in client.get_registered_model(name).description


def test_the_old_champion_becomes_previous(uri, client, new_run, name):
    runs = [new_run(prefix=prefix) for prefix in "abc"]
    done = [promote(run_id, tracking_uri=uri, name=name) for run_id in runs]
    assert [(one.version, one.previous) for one in done] == [(1, None), (2, 1), (3, 2)]
    assert client.get_registered_model(name).aliases == {"previous": 2, "champion": 3}
    for alias, prefix in (("previous", "b"), ("champion", "c")):
        answer = mlflow.pyfunc.load_model(f"models:/{name}@{alias}").predict(customers(3))
        assert answer["segment_name"].str.startswith(prefix).all()


def test_a_former_champion_comes_back_with_its_old_version(uri, client, new_run, name):
    first, second = new_run(), new_run()
    for run_id in (first, second):
        promote(run_id, tracking_uri=uri, name=name)
    done = promote(first, tracking_uri=uri, name=name)
    assert (done.version, done.previous) == (1, 2)
    assert client.get_registered_model(name).aliases == {"previous": 2, "champion": 1}
    assert len(client.search_model_versions(f"name='{name}'")) == 2


def test_of_several_models_the_last_is_taken(uri, new_run, name):
    done = promote(new_run(models=2), tracking_uri=uri, name=name)
    answer = mlflow.pyfunc.load_model(done.uri).predict(customers(3))
    assert answer["segment_name"].str.startswith("s1").all()


def test_store_need_not_be_the_one_the_process_used_before(store, new_run, name, tmp_path):
    run_id = new_run()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/other.db")
    done = promote(run_id, tracking_uri=store[0], name=name)
    assert len(mlflow.pyfunc.load_model(done.uri).predict(customers(3))) == 3


def test_default_name(uri, client, new_run):
    assert champion_version(client) is None
    done = promote(new_run(structure="untested"), tracking_uri=uri)
    assert done.uri == "models:/customer-segments@champion"
    assert champion_version(client, MODEL_NAME).version == done.version


# --- refusals: nothing is changed --------------------------------------------------------------


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "KILLED"])
def test_unfinished_run(uri, client, new_run, name, status):
    with pytest.raises(RegistryError, match=rf"{status}.*FINISHED"):
        promote(new_run(status=status), tracking_uri=uri, name=name)
    assert champion_version(client, name) is None


def test_deleted_run_says_how_to_bring_it_back(uri, client, new_run, name):
    run_id = new_run()
    client.delete_run(run_id)
    with pytest.raises(RegistryError, match="mlflow runs restore"):
        promote(run_id, tracking_uri=uri, name=name)
    client.restore_run(run_id)
    promote(run_id, tracking_uri=uri, name=name)


@pytest.mark.parametrize("run_id", ["0" * 32, "nonsense", "../x", "a b"])
def test_unknown_run(uri, name, run_id):
    with pytest.raises(RegistryError, match=r"no such run.*segment compare"):
        promote(run_id, tracking_uri=uri, name=name)


def test_run_without_a_model(uri, new_run, name):
    with pytest.raises(RegistryError, match="no logged model"):
        promote(new_run(models=0), tracking_uri=uri, name=name)


def test_run_whose_model_was_deleted(uri, client, new_run, name):
    run_id = new_run()
    client.delete_logged_model(client.get_run(run_id).outputs.model_outputs[0].model_id)
    with pytest.raises(RegistryError, match="no logged model"):
        promote(run_id, tracking_uri=uri, name=name)


@pytest.mark.parametrize("bad", ["a/b", "a:b", ""])
def test_name_that_mlflow_does_not_allow(uri, new_run, bad):
    with pytest.raises(RegistryError, match="registered model"):
        promote(new_run(), tracking_uri=uri, name=bad)


# --- rollback ----------------------------------------------------------------------------------


def test_rollback_brings_the_previous_champion_back_and_undoes_itself(uri, client, new_run, name):
    for prefix in "ab":
        promote(new_run(prefix=prefix), tracking_uri=uri, name=name)
    back = rollback(tracking_uri=uri, name=name, reason="wrong lists")
    assert (back.version, back.previous) == (1, 2)
    assert client.get_registered_model(name).aliases == {"champion": 1, "previous": 2}
    answer = mlflow.pyfunc.load_model(back.uri).predict(customers(3))
    assert answer["segment_name"].str.startswith("a").all()
    assert client.get_model_version(name, 2).tags["rolled_back_reason"] == "wrong lists"
    assert rollback(tracking_uri=uri, name=name).version == 2
    assert client.get_registered_model(name).aliases == {"champion": 2, "previous": 1}


def test_promotion_cut_off_before_its_last_step_does_not_lose_the_way_back(
    uri, client, new_run, name
):
    for prefix in "ab":
        promote(new_run(prefix=prefix), tracking_uri=uri, name=name)
    client.set_registered_model_alias(name, "previous", 2)  # what the crash leaves behind
    assert rollback(tracking_uri=uri, name=name).version == 1


def test_rollback_without_a_champion_before(uri, new_run, name):
    with pytest.raises(RegistryError, match="segment promote"):
        rollback(tracking_uri=uri, name=name)
    promote(new_run(), tracking_uri=uri, name=name)
    with pytest.raises(RegistryError, match="first champion"):
        rollback(tracking_uri=uri, name=name)


def test_rollback_to_a_deleted_version(uri, client, new_run, name):
    for prefix in "ab":
        promote(new_run(prefix=prefix), tracking_uri=uri, name=name)
    client.delete_model_version(name, 1)
    with pytest.raises(RegistryError, match=r"deleted|first champion"):
        rollback(tracking_uri=uri, name=name)
    assert champion_version(client, name).version == 2


# --- copies ------------------------------------------------------------------------------------


def test_copy_is_champion_there_with_the_same_answers_and_tags(uri, client, new_run, name, capfd):
    there = f"prod.{name}"
    for prefix, ids in (("a", "[0, 1, 2]"), ("b", "[0, 1, 3]")):
        tags = {"segment_ids": ids, "next_segment_id": "4"}
        promote(new_run(prefix=prefix), tracking_uri=uri, name=name, tags=tags)
        capfd.readouterr()
        copy = copy_champion(tracking_uri=uri, name=name, copy_to=there)
        assert capfd.readouterr() == ("", "")
        assert client.get_model_version(there, copy.version).tags["segment_ids"] == ids
    assert (copy.version, copy.previous) == (2, 1)
    assert client.get_registered_model(there).aliases == {"champion": 2, "previous": 1}
    assert standing(client, there).next_segment_id == 4
    answers = [
        mlflow.pyfunc.load_model(f"models:/{one}@champion").predict(customers(9))
        for one in (name, there)
    ]
    assert answers[0].equals(answers[1])
    assert rollback(tracking_uri=uri, name=there).version == 1


def test_copy_again_makes_no_other_version(uri, client, new_run, name):
    promote(new_run(), tracking_uri=uri, name=name)
    for _ in range(2):
        copy = copy_champion(tracking_uri=uri, name=name, copy_to=f"prod.{name}")
    assert copy.version == 1
    with pytest.raises(RegistryError, match="first champion"):
        rollback(tracking_uri=uri, name=f"prod.{name}")


@pytest.mark.parametrize("copy_to", ["", "a/b"])
def test_copy_to_a_name_that_is_not_allowed(uri, new_run, copy_to):
    promote(new_run(), tracking_uri=uri, name="source-of-copies")
    with pytest.raises(RegistryError, match="registered model"):
        copy_champion(tracking_uri=uri, name="source-of-copies", copy_to=copy_to)


def test_copy_to_itself(uri, new_run, name):
    promote(new_run(), tracking_uri=uri, name=name)
    with pytest.raises(RegistryError, match="another registered model"):
        copy_champion(tracking_uri=uri, name=name, copy_to=name)


def test_copy_of_a_champion_whose_files_have_changed(uri, client, new_run, name):
    done, there = promote(new_run(), tracking_uri=uri, name=name), f"prod.{name}"
    source = client.get_model_version(name, str(done.version)).source
    logged = client.get_logged_model(source.removeprefix("models:/"))
    pipeline = Path(unquote(urlsplit(logged.artifact_location).path), "artifacts/pipeline.skops")
    before = pipeline.read_bytes()
    pipeline.write_bytes(before + b" ")
    with pytest.raises(RegistryError, match=r"changed: artifacts/pipeline\.skops"):
        copy_champion(tracking_uri=uri, name=name, copy_to=there, trust=True)
    assert not client.search_registered_models(f"name='{there}'")
    pipeline.write_bytes(before)
    client.delete_logged_model_tag(logged.model_id, FILES_TAG)
    with pytest.raises(RegistryError, match="add trust=true"):
        copy_champion(tracking_uri=uri, name=name, copy_to=there)
    copy_champion(tracking_uri=uri, name=name, copy_to=there, trust=True)
    assert client.get_logged_model(logged.model_id).tags[FILES_TAG] == logged.tags[FILES_TAG]
