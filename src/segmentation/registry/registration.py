"""Register a model of a run as a version, with tags and a description."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from segmentation.errors import RegistryError
from segmentation.registry.versions import versions

# Tags of the run that the registry page shows, so that nobody has to open the run.
COPIED_TAGS = ("features", "scaling", "structure", "confidence", "data_sha256")
#: Tags of an override; a version that is promoted again without one loses them.
OVERRIDE = ("override_reason", "override_by", "override_at")
#: Maximum length of a version's description.
LONGEST = 5000
DESCRIPTION = (
    "Customer segments by K-Means. `champion` is the version to use, `previous` the one before it "
    "(`segment rollback` brings it back). A segment id means the same segment in every version. "
    "Load it with `mlflow.pyfunc.load_model('models:/{name}@champion')`."
)


def make_registered_model(client: MlflowClient, name: str) -> None:
    """Create a registered model, unless it exists.

    Raises
    ------
    RegistryError
        MLflow does not allow `name`.
    """
    try:
        client.create_registered_model(name, description=DESCRIPTION.format(name=name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise RegistryError(f"registered model '{name}': {error.message}") from error


def register(
    client: MlflowClient,
    run: Run,
    source: str,
    name: str,
    *,
    tags: Mapping[str, str],
    new_tags: Mapping[str, str] | None = None,
    description: str | None = None,
    known: Sequence[ModelVersion] | None = None,
) -> tuple[ModelVersion, bool]:
    """Return the model's version of an existing registered model, and whether it was created.

    Parameters
    ----------
    client : MlflowClient
    run : Run
        Described by the version; some of its tags are copied.
    source : str
        The logged model, ``models:/m-…``.
    name : str
    tags : mapping
        Tags of the version, also of one that exists.
    new_tags : mapping, optional
        More tags of a version that does not exist yet; the store sets them when it creates it.
    description : str, optional
        Markdown shown below the description of the run.
    known : sequence of ModelVersion, optional
        All versions of `name`, if they have just been read.
    """
    copied = {key: run.data.tags[key] for key in COPIED_TAGS if key in run.data.tags}
    if "k" in run.data.metrics:
        copied["k"] = f"{run.data.metrics['k']:.0f}"
    tags = {**copied, **tags, "run_id": run.info.run_id}
    text = _describe(run, tags) + (f"\n\n{description}" if description else "")
    if len(text) > LONGEST:  # a PostgreSQL store refuses more
        text = f"{text[: LONGEST - 1]}…"
    for version in versions(client, name) if known is None else known:
        if version.source == source:
            client.update_model_version(name, version.version, text)
            for key, value in tags.items():
                client.set_model_version_tag(name, version.version, key, value)
            for key in OVERRIDE:
                if key in version.tags and key not in tags:
                    client.delete_model_version_tag(name, version.version, key)
            return version, False
    logging.getLogger("mlflow.store.model_registry.abstract_store").setLevel(logging.WARNING)
    made = client.create_model_version(
        name,
        source,
        run_id=run.info.run_id,
        model_id=source.removeprefix("models:/"),
        tags={**tags, **(new_tags or {})},
        description=text,
    )
    return made, True


def _describe(run: Run, tags: Mapping[str, str]) -> str:
    """Describe the run in Markdown: what was clustered, how, how well and when."""
    metrics = run.data.metrics
    fitted = datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC)
    lines = [
        f"**{tags.get('k', '?')} customer segments** on `{tags.get('features', '?')}`, "
        f"scaling `{tags.get('scaling', '?')}`.",
        f"- Structure: {tags.get('structure', 'untested')}"
        + (f", choice of k {tags['confidence']}" if "confidence" in tags else ""),
        *(
            f"- {label}: {metrics[key]:.3g}"
            for key, label in (
                ("silhouette", "Silhouette"),
                ("stability", "Stability"),
                ("smallest_share", "Share of the smallest segment"),
            )
            if key in metrics
        ),
        f"- Run `{run.info.run_name}` ({run.info.run_id}), fitted {fitted:%Y-%m-%d %H:%M} UTC",
    ]
    return "\n".join(lines)
