"""Refuse a model whose files are not those that were logged, before anything of it is loaded.

A logged model carries the SHA-256 of each of its files as a tag. The tag lies in the tracking
database and the files in the artifact store, which more people may write to. A model made before
there were digests has no tag; what it would run is checked all the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from zipfile import BadZipFile

import yaml
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from skops.io.exceptions import UntrustedTypesFoundException

from segmentation.errors import RegistryError
from segmentation.model.released_code import CODE_NAMES, NEWEST, is_ours, number
from segmentation.model.segment_model import PIPELINE_FILE, SEGMENTS_FILE

#: Tags of a logged model: the digest of each file as JSON, and the number of its code in
#: `segmentation.model.released_code.RELEASED`.
FILES_TAG, FORMAT_TAG = "files_sha256", "model_format"
MLMODEL = "MLmodel"
#: Where MLflow keeps a model's own files.
ARTIFACTS = "artifacts"
#: MLflow records here under which name a folder was fetched; this is not part of the model.
FETCH_NOTE = "registered_model_meta"
#: Python writes compiled code here when MLflow loads a model in place, and would run what it finds.
COMPILED = "__pycache__"
#: The address of the folder, which changes when a store moves.
_ADDRESS = "artifact_path"
#: libyaml's loader, if PyYAML was built with it, is ten times faster.
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LOADER = "mlflow.pyfunc.loaders.code_model"
#: Keys of the pyfunc flavour by which MLflow would run or unpickle other files.
_RUN_OTHERS = ("code", "data", "python_model")
_PATHS = {
    "pipeline": f"{ARTIFACTS}/{PIPELINE_FILE}",
    "segments": f"{ARTIFACTS}/{SEGMENTS_FILE}",
}
_VERSION = re.compile(r"models:/+([^/@]+)(?:@([^/]+)|/(\d+|latest))", re.IGNORECASE)
SHOWN = 5


@dataclass(frozen=True)
class Record:
    """What the store knows about the files of a model.

    Attributes
    ----------
    files : mapping of str to str, or None
        Digest of each file by its path; None if the model was made before there were digests, or
        is not a model of the store.
    format : int
        Number of its code; 0 if unknown.
    run_id : str or None
        The run that logged it.
    """

    files: Mapping[str, str] | None = None
    format: int = 0
    run_id: str | None = None


def digests(folder: Path) -> dict[str, str]:
    """Compute the SHA-256 of each file of a model by its path, without what MLflow rewrites.

    ``MLmodel`` counts by its content without the address of the folder, so that a store can move.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        own = path.relative_to(folder)
        name = own.as_posix()
        if path.is_dir() or name == FETCH_NOTE or COMPILED in own.parts:
            continue
        content = path.read_bytes()
        found[name] = hashlib.sha256(
            _canonical(content) if name == MLMODEL else content
        ).hexdigest()
    return found


def tags(folder: Path) -> dict[str, str]:
    """Return the tags of a logged model with the files of this folder."""
    files = digests(folder)
    code = next((files[name] for name in CODE_NAMES if name in files), "")
    return {
        FILES_TAG: json.dumps(files, separators=(",", ":")),
        FORMAT_TAG: str(number(code)),
    }


def named_version(client: MlflowClient, uri: str) -> tuple[str, str] | None:
    """Return the registered model and the version number that a URI names.

    Parameters
    ----------
    client : MlflowClient
    uri : str
        ``models:/name/version``, ``models:/name@alias`` or ``models:/name/latest``, the highest
        number; None for any other.

    Raises
    ------
    MlflowException
        The store has no such alias, or no version of this name.
    """
    found = _VERSION.fullmatch(uri)
    if found is None:
        return None
    name, alias, which = found.groups()
    if alias is not None:
        return name, str(client.get_model_version_by_alias(name, alias).version)
    if which.isdecimal():
        return name, which
    quoted = name.replace("'", "''")
    newest = client.search_model_versions(
        f"name='{quoted}'", max_results=1, order_by=["version_number DESC"]
    )
    if not newest:
        raise MlflowException(f"registered model '{name}' has no version", RESOURCE_DOES_NOT_EXIST)
    return name, str(newest[0].version)


def recorded(client: MlflowClient, uri: str) -> Record:
    """Look up what the store knows about the files of a model.

    Parameters
    ----------
    client : MlflowClient
    uri : str
        ``models:/m-…``, a version as in `named_version`, ``runs:/id/name`` or a folder.
    """
    logged = logged_model(client, uri)
    if logged is None:
        return Record()
    files = logged.tags.get(FILES_TAG)
    number = logged.tags.get(FORMAT_TAG, "")
    return Record(
        files=None if files is None else json.loads(files),
        format=int(number) if number.isdecimal() else 0,
        run_id=logged.source_run_id,
    )


def logged_model(client: MlflowClient, uri: str) -> LoggedModel | None:
    """Return the logged model behind a URI; None if it was deleted or is not of the store."""
    try:
        return _logged_model(client, uri)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None  # deleted, although a version still has its files


def check(folder: Path, known: Record, what: str) -> None:
    """Refuse a folder that holds other files than were logged, or would run code that is not ours.

    Nothing of the folder is loaded. Compiled code is not looked at: remove it before MLflow loads
    the folder.

    Parameters
    ----------
    folder : Path
    known : Record
        From `recorded`.
    what : str
        Names the model in messages.

    Raises
    ------
    RegistryError
    """
    if known.files is not None:
        _check_files(folder, known, known.files, what)
    description = folder / MLMODEL
    if not description.is_file():
        _refuse_incomplete([MLMODEL], what)
    about = _parsed(description.read_bytes())
    _check_flavors(about, what)
    missing = [path for path in _PATHS.values() if not (folder / path).is_file()]
    if missing:
        _refuse_incomplete(missing, what)
    _check_code(folder, about, known, what)


def notes(known: Record, what: str) -> tuple[str, ...]:
    """Return what users should know about a model without digests."""
    if known.files is not None:
        return ()
    return (f"note: {what} has no digests of its files: changes to them would not be noticed",)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn the errors of a model's damaged or hostile files into a `RegistryError`."""
    try:
        yield
    except UntrustedTypesFoundException as error:
        raise RegistryError(
            f"{what}: its pipeline holds what no model of `segment fit` does and was not loaded "
            f"({str(error).splitlines()[0]}). Restore its files, or use another model."
        ) from error
    except (BadZipFile, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise RegistryError(
            f"{what}: its files are damaged ({reason[0]}). Restore them, or use another model."
        ) from error


def _check_files(folder: Path, known: Record, files: Mapping[str, str], what: str) -> None:
    found = digests(folder)
    differences = {
        "changed": [n for n in files if n in found and found[n] != files[n]],
        "missing": [n for n in files if n not in found],
        "added": [n for n in found if n not in files],
    }
    if not any(differences.values()):
        return
    told = "; ".join(f"{how}: {_listed(names)}" for how, names in differences.items() if names)
    again = f", or fit it again (segment fit run_id={known.run_id})" if known.run_id else ""
    raise RegistryError(
        f"{what}: its files are not those that were logged ({told}), so nothing of it was loaded. "
        f"Find out who can write to the artifacts of the store. Then restore the files{again}. "
        "If it is the champion, `segment rollback` brings the one before it back; without one, "
        "remove its alias `champion` in the MLflow UI and promote another run."
    )


def _refuse_incomplete(missing: list[str], what: str) -> NoReturn:
    raise RegistryError(
        f"{what}: its files are incomplete (missing: {_listed(missing)}). Restore them, or use "
        "another model."
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _check_flavors(about: Mapping[str, Any], what: str) -> None:
    """Refuse a description that makes MLflow load other files than those of `segment fit`."""
    flavors = _mapping(about.get("flavors"))
    pyfunc, sklearn = _mapping(flavors.get("python_function")), flavors.get("sklearn")
    artifacts = _mapping(pyfunc.get("artifacts"))
    if not _PATHS.keys() <= artifacts.keys():
        raise RegistryError(
            f"{what}: this model was not made by `segment fit`, so its segments cannot be read. "
            "Choose another one, such as model=models:/customer-segments@champion"
        )
    wrong = {
        f"artifacts.{key}": _mapping(value).get("path")
        for key, value in artifacts.items()
        if _mapping(value).get("path") != _PATHS.get(key)
    }
    wrong |= {key: pyfunc[key] for key in _RUN_OTHERS if pyfunc.get(key)}
    if pyfunc.get("loader_module") != _LOADER:
        wrong["loader_module"] = pyfunc.get("loader_module")
    if pyfunc.get("model_code_path") not in CODE_NAMES:
        wrong["model_code_path"] = pyfunc.get("model_code_path")
    if sklearn is not None:
        given = _mapping(sklearn)
        own: dict[str, str | None] = {
            "pickled_model": _PATHS["pipeline"],
            "serialization_format": "skops",
            "code": None,
            "skops_trusted_types": None,
        }
        wrong |= {f"sklearn.{k}": given.get(k) for k in own if (given.get(k) or None) != own[k]}
    example = _mapping(about.get("saved_input_example_info"))
    for key in ("artifact_path", "serving_input_path"):
        path = example.get(key)
        if path is not None and Path(str(path)).name != str(path):
            wrong[f"saved_input_example_info.{key}"] = path
    if wrong:
        told = ", ".join(f"{key}: {value}" for key, value in wrong.items())
        raise RegistryError(
            f"{what}: its {MLMODEL} file names what no model of `segment fit` does ({told}), so "
            "nothing of it was loaded. Restore the file, or use another model."
        )


def _check_code(folder: Path, about: Mapping[str, Any], known: Record, what: str) -> None:
    name = about["flavors"]["python_function"]["model_code_path"]
    path = folder / name
    if path.is_file() and is_ours(hashlib.sha256(path.read_bytes()).hexdigest()):
        return
    if known.format > NEWEST:
        raise RegistryError(
            f"{what} was made by a newer version of segment than this one: upgrade segment, or "
            "use another model."
        )
    raise RegistryError(
        f"{what}: its code, {name}, is not the code of any version of segment that this one knows, "
        "so it was not run. If a newer version made the model, upgrade segment; otherwise restore "
        "the file, or use another model."
    )


def _logged_model(client: MlflowClient, uri: str) -> LoggedModel | None:
    """Return the logged model behind a URI, or None for files outside the store."""
    if (named := named_version(client, uri)) is not None:
        version = client.get_model_version(*named)
        # A copy in another registered model names the version it was copied from, and the id.
        if version.model_id:
            return client.get_logged_model(version.model_id)
        return None if version.source == uri else _logged_model(client, str(version.source))
    kind, _, path = uri.partition(":/")
    first, _, rest = path.strip("/").partition("/")
    if kind == "models" and not rest:
        return client.get_logged_model(first)
    if kind == "runs":
        outputs = client.get_run(first).outputs
        logged = [] if outputs is None else outputs.model_outputs
        models = [client.get_logged_model(each.model_id) for each in logged]
        return next((model for model in models if model.name == rest), None)
    return None


def _canonical(mlmodel: bytes) -> bytes:
    about = {key: value for key, value in _parsed(mlmodel).items() if key != _ADDRESS}
    try:
        return json.dumps(about, sort_keys=True, default=str).encode()
    except (TypeError, ValueError, RecursionError):  # keys of several types, or a loop
        return mlmodel


def _parsed(mlmodel: bytes) -> Mapping[str, Any]:
    try:
        return _mapping(yaml.load(mlmodel, Loader=_YAML))
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
