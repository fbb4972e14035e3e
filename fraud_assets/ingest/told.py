"""How the commands that take a stranger's file end where they cannot go on: one line that says what to mend, and 2."""

from collections.abc import Callable

from rich.console import Console

from fraud_assets.contracts.tokens import BadTokenKey


def told(run: Callable[[], int], faults: tuple[type[Exception], ...], writable: str, console: Console) -> int:
    """What `run` returns. faults: those whose message is for a person. writable: what to give where nothing could be written."""
    try:
        return run()
    except faults as error:
        fault = str(error)
    except BadTokenKey as error:
        fault = f"FRAUD_TOKEN_KEY, FRAUD_TOKEN_KEY_ID: {error}"
    except OSError as error:
        fault = f"CannotWrite: {error}. Give {writable} that can be written."
    console.print(fault, style="red", markup=False, highlight=False, soft_wrap=True)
    return 2
