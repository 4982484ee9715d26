"""``segment rollback``: make the previous champion the champion again."""

from __future__ import annotations

from segmentation.cli.commands.call import Call
from segmentation.config import RollbackConfig
from segmentation.registry import aliases
from segmentation.tracking.store import store_errors


def run(config: RollbackConfig, call: Call) -> None:
    """Move the aliases back and print how to undo it.

    Raises
    ------
    RegistryError
        There is no champion before this one.
    """
    store = call.open_store(config.tracking, existing=True)
    with store_errors(store.uri):
        back = aliases.rollback(tracking_uri=store.uri, name=config.model, reason=config.reason)
    print(f"{back.name} version {back.version} is champion again (was version {back.previous}).")
    print("Programs that load the model by its alias get this version the next time they load it.")
    print(f"Undo:   {call.next('segment rollback', config.tracking)}")
